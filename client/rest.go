package client

import (
	"context"
	"time"
)

// Register makes an account: of cfg it takes URL, User, Password, Invite and
// HTTPClient. name is what others see. ErrAlreadyExists where the user is taken.
func Register(ctx context.Context, cfg Config, name string) error { return errUnfinished }

// Devices lists the user's devices.
func (c *Client) Devices(ctx context.Context) ([]DeviceInfo, error) { return nil, errUnfinished }

// Unlink ends a device of the user: its tokens and sessions at once. Unlinking
// the client's own is logging out: it stops with ErrUnlinked.
func (c *Client) Unlink(ctx context.Context, device uint32) error { return errUnfinished }

// Privacy says who may see when a user was last online.
type Privacy string

// The choices. Contacts are those with whom there is a conversation both ways.
const (
	Everyone Privacy = "EVERYONE"
	Contacts Privacy = "CONTACTS"
	Nobody   Privacy = "NOBODY"
)

// Profile is what one may see of a user.
type Profile struct {
	User, Name, Picture, About string
	Online                     bool
	// LastSeen is zero where it is not shown.
	LastSeen time.Time
	// LastSeenFor is shown to oneself only.
	LastSeenFor Privacy
}

// ProfileChange says what to change of one's own profile; nil stays as it is.
type ProfileChange struct {
	Name, Picture, About *string
	LastSeenFor          *Privacy
}

// Profile gets a user's profile. ErrNotFound where there is none that one may see.
func (c *Client) Profile(ctx context.Context, user string) (Profile, error) {
	return Profile{}, errUnfinished
}

// UpdateProfile changes one's own profile and returns it.
func (c *Client) UpdateProfile(ctx context.Context, change ProfileChange) (Profile, error) {
	return Profile{}, errUnfinished
}

// Block hides oneself from a user, and drops what that user sends.
func (c *Client) Block(ctx context.Context, user string) error { return errUnfinished }

// Unblock ends a block.
func (c *Client) Unblock(ctx context.Context, user string) error { return errUnfinished }

// ChangePassword replaces the password; devices stay linked.
func (c *Client) ChangePassword(ctx context.Context, old, new string) error { return errUnfinished }

// DeleteAccount removes the user with all devices and what waits for them.
func (c *Client) DeleteAccount(ctx context.Context, password string) error { return errUnfinished }
