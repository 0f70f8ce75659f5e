package client

import "errors"

var errInClear = errors.New("a redirect leads from https to http")
