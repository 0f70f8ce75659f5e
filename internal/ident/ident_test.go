package ident

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestCheckUser(t *testing.T) {
	for _, c := range []struct {
		id   string
		want error
	}{
		{"a", nil},
		{"+4915112345678", nil},
		{"Alice_B-1.x@example.org", nil},
		{strings.Repeat("x", 64), nil},
		{"g", nil},
		{"G_x", nil},
		{"ag_", nil},
		{"", ErrUserEmpty},
		{strings.Repeat("x", 65), ErrUserLong},
		{"a b", ErrUserBytes},
		{"a/b", ErrUserBytes},
		{"ü", ErrUserBytes},
		{"a\x00", ErrUserBytes},
		{"a\xff", ErrUserBytes},
		{"g_x", ErrUserGroup},
		{"g_", ErrUserGroup},
	} {
		if got := CheckUser(c.id); !errors.Is(got, c.want) {
			t.Errorf("CheckUser(%q) = %v, want %v", c.id, got, c.want)
		}
	}
}

func TestCheckGroup(t *testing.T) {
	for _, c := range []struct {
		id   string
		want error
	}{
		{"g_01h", nil},
		{"g_", ErrGroupPrefix},
		{"alice", ErrGroupPrefix},
		{"g_a b", ErrUserBytes},
		{"", ErrUserEmpty},
	} {
		if got := CheckGroup(c.id); !errors.Is(got, c.want) {
			t.Errorf("CheckGroup(%q) = %v, want %v", c.id, got, c.want)
		}
	}
}

func TestParseMessageID(t *testing.T) {
	const text = "01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b"
	for _, c := range []struct {
		text string
		want error
	}{
		{text, nil},
		{strings.ToUpper(text), nil},
		{"", ErrMessageID},
		{"not-an-id", ErrMessageID},
		{strings.ReplaceAll(text, "-", ""), ErrMessageID},
		{"{" + text + "}", ErrMessageID},
		{"urn:uuid:" + text, ErrMessageID},
		{text[:35] + "g", ErrMessageID},
		{text[:8] + "0" + text[9:], ErrMessageID},
		{uuid.Nil.String(), ErrMessageNil},
	} {
		id, err := ParseMessageID(c.text)
		if !errors.Is(err, c.want) {
			t.Errorf("ParseMessageID(%q): %v, want %v", c.text, err, c.want)
		}
		if err == nil && MessageIDString(id[:]) != text {
			t.Errorf("ParseMessageID(%q) reads back as %s", c.text, MessageIDString(id[:]))
		}
	}
	if got := MessageIDString(nil); got != "" {
		t.Errorf("MessageIDString(nil) = %q", got)
	}
}

func TestMessageIDTextRoundTrip(t *testing.T) {
	for range 100 {
		id := uuid.New()
		back, err := ParseMessageID(MessageIDString(id[:]))
		if err != nil || back != id {
			t.Fatalf("%s: %x, %v", id, back, err)
		}
	}
	id := uuid.New()
	dst := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { dst = AppendMessageID(dst[:0], id[:]) }); n != 0 {
		t.Errorf("AppendMessageID allocates %v times", n)
	}
}
