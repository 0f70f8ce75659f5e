package client

import (
	"errors"
	"strings"
	"time"
)

// Code is the kind of an error that the server sent. Every code is itself an
// error, so that errors.Is(err, client.ErrMailboxFull) tells it.
type Code string

// The server's codes, as docs/protocol.md explains them. The list may grow.
const (
	ErrInvalidArgument    Code = "invalid_argument"
	ErrUnauthenticated    Code = "unauthenticated" // also why a client stops that can get no token
	ErrPermissionDenied   Code = "permission_denied"
	ErrNotFound           Code = "not_found"
	ErrAlreadyExists      Code = "already_exists"
	ErrFailedPrecondition Code = "failed_precondition"
	ErrPayloadTooLarge    Code = "payload_too_large"
	ErrMailboxFull        Code = "mailbox_full"
	ErrRateLimited        Code = "rate_limited"
	ErrUnavailable        Code = "unavailable"
	ErrInternal           Code = "internal"
)

// Error is the code in words.
func (c Code) Error() string { return strings.ReplaceAll(string(c), "_", " ") }

// Reasons that narrow a code, in Error.Reason. The list may grow.
const (
	ReasonDevicesMismatch    = "devices_mismatch"
	ReasonTooManyDevices     = "too_many_devices"
	ReasonTokenExpired       = "token_expired"
	ReasonDeviceUnlinked     = "device_unlinked"
	ReasonWrongPassword      = "wrong_password"
	ReasonRegistrationClosed = "registration_closed"
	ReasonInviteRequired     = "invite_required"
	ReasonOutcomeUnknown     = "outcome_unknown"
)

// Error is an error that the server sent. Get at it by errors.As.
type Error struct {
	Code Code
	// Reason narrows the code for programs; may be empty.
	Reason string
	// Message is for people, and names the field at fault.
	Message string
	// Retryable says whether the same request may succeed later, and
	// RetryAfter, where known, the least to wait.
	Retryable  bool
	RetryAfter time.Duration
	// Missing and Extra devices, with ReasonDevicesMismatch.
	Missing, Extra []Device
}

// Error gives code, reason and message.
func (e *Error) Error() string {
	s := "server: " + e.Code.Error()
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap gives the code, for errors.Is.
func (e *Error) Unwrap() error { return e.Code }

// What a client itself says.
var (
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the client is closed")
	// ErrDisplaced: this device connected elsewhere, and that connection is now the one (4102).
	ErrDisplaced = errors.New("this device connected elsewhere")
	// ErrUnlinked: the device was unlinked (4103). Opening the same store
	// again with a password links a new one, which sends what was unsent.
	ErrUnlinked = errors.New("this device was unlinked")
	// ErrProtocol: the server called a frame malformed (4100, or a 41xx that is not known), or what it answered cannot be understood.
	ErrProtocol = errors.New("client and server do not understand each other")
	// ErrQueueFull: Config.QueueLimit messages have no fate yet, or have one that nobody fetched by Next.
	ErrQueueFull = errors.New("the queue of unsent messages is full")
	// ErrOffline: what is never stored cannot be sent without a connection.
	ErrOffline = errors.New("not connected")
	// ErrReceiving: one Next or Receive at a time.
	ErrReceiving = errors.New("another Next or Receive is under way")
	// ErrStore: the store failed. The client stops rather than go on with what it could not write.
	ErrStore = errors.New("the store failed")
	// ErrStoreLocked: another process, or another client of this one, has the file.
	ErrStoreLocked = errors.New("the store is in use")
	// ErrStoreDamaged: the file holds damage that is not the torn end of a last write.
	ErrStoreDamaged = errors.New("the store is damaged")
	// ErrOtherUser: the store belongs to another user than Config.User.
	ErrOtherUser = errors.New("the store belongs to another user")
)
