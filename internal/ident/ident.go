// Package ident says what a well-formed identifier is: user and group ids,
// message ids, and the cost-free conversions between their text and their
// stored form. It knows nothing of whether the identified thing exists.
//
// Errors complete a sentence that begins with the field's name, as in
// "send.id: must be a UUID ...": the caller, who knows the field, puts it there.
package ident

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/rookery-im/rookery/internal/limits"
)

// GroupPrefix begins every group id and no user id.
const GroupPrefix = "g_"

// MessageIDLen is the length of a stored message id, and MessageIDText that of
// its text.
const (
	MessageIDLen  = 16
	MessageIDText = 36
)

// The ways in which an identifier is not one.
var (
	ErrUserEmpty   = errors.New("must not be empty")
	ErrUserLong    = fmt.Errorf("must be at most %d bytes", limits.UserID)
	ErrUserBytes   = errors.New("may hold only A-Z a-z 0-9 + - _ . @")
	ErrUserGroup   = errors.New("must not begin with g_, which marks groups")
	ErrGroupPrefix = errors.New("must begin with g_")
	ErrMessageID   = errors.New("must be a UUID such as 01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b")
	ErrMessageNil  = errors.New("must not be the nil UUID")
)

// idBytes marks the bytes that user and group ids are made of.
var idBytes = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-_.@") {
		set[c] = true
	}
	return set
}()

// CheckUser reports what is wrong with a user id, or nil.
func CheckUser(id string) error {
	if err := checkBytes(id); err != nil {
		return err
	}
	if strings.HasPrefix(id, GroupPrefix) {
		return ErrUserGroup
	}
	return nil
}

// CheckGroup reports what is wrong with a group id, or nil.
func CheckGroup(id string) error {
	if err := checkBytes(id); err != nil {
		return err
	}
	if !strings.HasPrefix(id, GroupPrefix) || len(id) == len(GroupPrefix) {
		return ErrGroupPrefix
	}
	return nil
}

func checkBytes(id string) error {
	if id == "" {
		return ErrUserEmpty
	}
	if len(id) > limits.UserID {
		return ErrUserLong
	}
	for i := range len(id) {
		if !idBytes[id[i]] {
			return ErrUserBytes
		}
	}
	return nil
}

// ParseMessageID reads the text of a message id, which is also the
// idempotency key: a UUID in its 36-character form, in either case. The other
// forms that RFC 9562 libraries read (urn:uuid:, braces, no hyphens) are
// refused, so that two spellings of one id differ in case at most. The nil
// UUID is refused because a stored id of zeroes would look like none.
func ParseMessageID(text string) ([MessageIDLen]byte, error) {
	if len(text) != MessageIDText {
		return [MessageIDLen]byte{}, ErrMessageID
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return [MessageIDLen]byte{}, ErrMessageID
	}
	if id == uuid.Nil {
		return [MessageIDLen]byte{}, ErrMessageNil
	}
	return id, nil
}

// AppendMessageID appends the text of a stored message id, in lower case;
// nothing where id is not 16 bytes long (a message without replyTo).
func AppendMessageID(dst, id []byte) []byte {
	if len(id) != MessageIDLen {
		return dst
	}
	dst = hex.AppendEncode(dst, id[:4])
	for _, part := range [][2]int{{4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, id[part[0]:part[1]])
	}
	return dst
}

// MessageIDString is AppendMessageID as a string; empty where id is not 16
// bytes long.
func MessageIDString(id []byte) string {
	if len(id) != MessageIDLen {
		return ""
	}
	var text [MessageIDText]byte
	return string(AppendMessageID(text[:0], id))
}
