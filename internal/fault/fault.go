// Package fault is the append-only list of error codes that clients see, with
// what each means for a retry and for HTTP.
package fault

import (
	"fmt"
	"net/http"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Code of an error, as on the wire.
type Code string

// The codes. Append only: clients are written against them.
const (
	InvalidArgument    Code = "invalid_argument"
	Unauthenticated    Code = "unauthenticated"
	PermissionDenied   Code = "permission_denied"
	NotFound           Code = "not_found"
	AlreadyExists      Code = "already_exists"
	FailedPrecondition Code = "failed_precondition"
	PayloadTooLarge    Code = "payload_too_large"
	MailboxFull        Code = "mailbox_full"
	RateLimited        Code = "rate_limited"
	Unavailable        Code = "unavailable"
	Internal           Code = "internal"
)

// Reasons that narrow a code.
const (
	ReasonOutOfOrder      = "out_of_order"         // failed_precondition: send again, in order, what had no sent
	ReasonDevicesMismatch = "devices_mismatch"     // failed_precondition: payloads do not match the devices
	ReasonOutcomeUnknown  = "outcome_unknown"      // unavailable, REST only: the same id can be sent again
	ReasonUnknownField    = "unknown_field"        // invalid_argument
	ReasonTokenExpired    = "token_expired"        // unauthenticated
	ReasonDeviceUnlinked  = "device_unlinked"      // unauthenticated
	ReasonDeviceLimit     = "too_many_devices"     // failed_precondition
	ReasonInvite          = "invite_required"      // permission_denied
	ReasonClosed          = "registration_closed"  // permission_denied
	ReasonWrongPassword   = "wrong_password"       // permission_denied: the token is fine, the password in the body (or what stands in for it) is not
	ReasonRefused         = "registration_refused" // permission_denied: the webhook said no
	ReasonOutsideIssuer   = "outside_issuer"       // permission_denied: accounts and passwords are an outside issuer's affair
	ReasonSenderShare     = "sender_share"         // mailbox_full: it is the sender's share of the recipient's mailbox that is
	ReasonOwnCopies       = "own_copies"           // mailbox_full: it is the sender's own, with copies for a device that is away
	ReasonNoDevice        = "no_device"            // unauthenticated: the token is good, but names a user alone
)

// Status is the HTTP status of the code; 500 where the code is not known.
func (c Code) Status() int {
	switch c {
	case InvalidArgument:
		return http.StatusBadRequest
	case Unauthenticated:
		return http.StatusUnauthorized
	case PermissionDenied:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case AlreadyExists, FailedPrecondition:
		return http.StatusConflict
	case PayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case MailboxFull:
		return http.StatusInsufficientStorage
	case RateLimited:
		return http.StatusTooManyRequests
	case Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// Retryable says whether the same request may succeed later, unchanged.
func (c Code) Retryable() bool {
	return c == MailboxFull || c == RateLimited || c == Unavailable
}

// CopiesFull is what a sender is told for whose other devices as many copies wait as
// may.
func CopiesFull() *nodepb.Fault {
	return New(MailboxFull, ReasonOwnCopies, "send: too many copies wait for a device of yours that is away: unlink it, or have it connect")
}

// New makes a fault; the message is for people and names the field at fault.
func New(code Code, reason, format string, args ...any) *nodepb.Fault {
	return &nodepb.Fault{
		Code:      string(code),
		Reason:    reason,
		Message:   fmt.Sprintf(format, args...),
		Retryable: code.Retryable() || reason == ReasonOutOfOrder,
	}
}
