package settings

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rookery-im/rookery/transport/api"
	"github.com/rookery-im/rookery/transport/session"
)

// kind is how a setting is read, shown and put into a Config. The texts that
// show gives are such that read takes them back.
type kind struct {
	values string // what may be given, for people: "a duration, above 0"
	list   bool   // takes several texts; a scalar takes one
	bare   bool   // a flag without a value means true
	quoted bool   // its texts are strings in YAML, whatever they look like
	read   func(c *Config, texts []string) error
	show   func(c *Config) []string
}

// form is the text of a type.
type form[T any] struct {
	values string
	parse  func(string) (T, error)
	format func(T) string
}

// field gives the place of a setting in a Config.
type field[T any] func(*Config) *T

func scalar[T any](at field[T], f form[T]) kind {
	return kind{
		values: f.values,
		read: func(c *Config, texts []string) error {
			v, err := f.parse(texts[0])
			if err == nil {
				*at(c) = v
			}
			return err
		},
		show: func(c *Config) []string { return []string{f.format(*at(c))} },
	}
}

func list[T any](at field[[]T], f form[T]) kind {
	return kind{
		values: f.values, list: true, quoted: true,
		read: func(c *Config, texts []string) error {
			var all []T
			var errs []error
			for _, text := range texts {
				v, err := f.parse(text)
				all, errs = append(all, v), append(errs, err)
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			*at(c) = all
			return nil
		},
		show: func(c *Config) []string {
			texts := []string{}
			for _, v := range *at(c) {
				texts = append(texts, f.format(v))
			}
			return texts
		},
	}
}

// quoted has the texts written as strings.
func quoted(k kind) kind {
	k.quoted = true
	return k
}

// within narrows a form to what lies from low to high, both included.
func within[T cmp.Ordered](f form[T], low, high T) form[T] {
	outer := f.parse
	f.values += ", " + f.format(low) + " to " + f.format(high)
	f.parse = func(text string) (T, error) {
		v, err := outer(text)
		if err == nil && (v < low || v > high) {
			err = fmt.Errorf("%s is not from %s to %s", f.format(v), f.format(low), f.format(high))
		}
		return v, err
	}
	return f
}

// least narrows a form to what is not below low.
func least[T cmp.Ordered](f form[T], low T) form[T] {
	outer := f.parse
	f.values += ", at least " + f.format(low)
	f.parse = func(text string) (T, error) {
		v, err := outer(text)
		if err == nil && v < low {
			err = fmt.Errorf("%s is below %s", f.format(v), f.format(low))
		}
		return v, err
	}
	return f
}

// above0 narrows durations to those that last.
func above0(f form[time.Duration]) form[time.Duration] {
	outer := f.parse
	f.values += ", above 0"
	f.parse = func(text string) (time.Duration, error) {
		v, err := outer(text)
		if err == nil && v <= 0 {
			err = fmt.Errorf("%s is not above 0", f.format(v))
		}
		return v, err
	}
	return f
}

// text that is printable; empty says what an empty one is taken for.
func text(at field[string], values string) kind {
	return quoted(scalar(at, form[string]{values, printable, identity}))
}

func identity(s string) string { return s }

func printable(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%s is not UTF-8", show(s))
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%s holds control characters", show(s))
	}
	return s, nil
}

// needed is text that may not be empty.
func needed(at field[string], values string) kind {
	return quoted(scalar(at, form[string]{values, func(s string) (string, error) {
		if s == "" {
			return "", fmt.Errorf("%s is needed", values)
		}
		return printable(s)
	}, identity}))
}

// address is host:port, as net.Listen takes it.
func address(at field[string], values string, orPath func(string) bool) kind {
	return quoted(scalar(at, form[string]{values, func(s string) (string, error) {
		if orPath(s) {
			return printable(s)
		}
		return withPort(s, values)
	}, identity}))
}

func withPort(s, values string) (string, error) {
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return "", fmt.Errorf("%s is not %s", show(s), values)
	} else if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > math.MaxUint16) {
		return "", fmt.Errorf("%s: there is no port %d", show(s), n)
	}
	return printable(s)
}

// hostPort is where another node is.
func hostPort() form[string] {
	return form[string]{"a list of addresses such as 10.0.0.7:7946", func(s string) (string, error) {
		return withPort(s, "an address such as 10.0.0.7:7946")
	}, identity}
}

// word is one of several.
func word(values string, words ...string) form[string] {
	return form[string]{values, func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%s is none of %s", show(s), strings.Join(words, ", "))
		}
		return s, nil
	}, identity}
}

func noPath(string) bool       { return false }
func isEmpty(text string) bool { return text == "" }
func isPath(text string) bool  { return strings.ContainsRune(text, '/') }

// choice is one of several words.
func choice(at field[string], words ...string) kind {
	all := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	return quoted(scalar(at, form[string]{all, func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%s is none of %s", show(s), strings.Join(words, ", "))
		}
		return s, nil
	}, identity}))
}

func level(at field[slog.Level]) kind {
	const words = "debug, info, warn or error"
	return quoted(scalar(at, form[slog.Level]{words, func(s string) (slog.Level, error) {
		var l slog.Level
		if err := l.UnmarshalText([]byte(s)); err != nil {
			return l, fmt.Errorf("%s is none of debug, info, warn, error", show(s))
		}
		return l, nil
	}, func(l slog.Level) string { return strings.ToLower(l.String()) }}))
}

func boolean(at field[bool]) kind {
	k := scalar(at, form[bool]{"true or false", func(s string) (bool, error) {
		v, err := strconv.ParseBool(s)
		if err != nil {
			err = fmt.Errorf("%s is neither true nor false", show(s))
		}
		return v, err
	}, strconv.FormatBool})
	k.bare = true
	return k
}

// number is a whole one.
func number[T int | uint32]() form[T] {
	return form[T]{"a number", func(s string) (T, error) {
		n, err := strconv.ParseInt(s, 0, 32)
		if errors.Is(err, strconv.ErrRange) {
			return 0, fmt.Errorf("%s is too large", show(s))
		}
		if err != nil || T(n) < 0 != (n < 0) {
			return 0, fmt.Errorf("%s is not a whole number", show(s))
		}
		return T(n), nil
	}, func(n T) string { return strconv.FormatInt(int64(n), 10) }}
}

func duration() form[time.Duration] {
	return form[time.Duration]{"a duration", parseDuration, formatDuration}
}

// parseDuration takes Go's syntax, and days before it: 30d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	wrong := fmt.Errorf("%s is not a duration such as 90s, 15m or 30d", show(s))
	days, rest, found := strings.Cut(s, "d")
	if !found {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, wrong
		}
		return d, nil
	}
	n, err := strconv.ParseFloat(days, 64)
	whole := n * float64(24*time.Hour)
	if err != nil || math.IsNaN(whole) || math.Abs(whole) >= math.MaxInt64 || strings.ContainsAny(days, "xXpPeEiInN_") {
		return 0, wrong
	}
	var part time.Duration
	if rest != "" {
		if part, err = time.ParseDuration(rest); err != nil || strings.ContainsAny(rest, "+-") || n < 0 {
			return 0, wrong
		}
	}
	total := time.Duration(whole) + part
	if part > 0 && total < part { // more than there are nanoseconds for
		return 0, wrong
	}
	return total, nil
}

func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// units of sizes, largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

// size is bytes.
func size[T int | int64]() form[T] {
	return form[T]{"a size", func(s string) (T, error) {
		for _, u := range units {
			digits, found := strings.CutSuffix(s, u.name)
			if !found {
				continue
			}
			n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
			if err != nil || n > uint64(math.MaxInt64/u.bytes) { //nolint:gosec // positive
				break
			}
			total := int64(n) * u.bytes //nolint:gosec // 63 bits
			if int64(T(total)) != total {
				break
			}
			return T(total), nil
		}
		return 0, fmt.Errorf("%s is not a size such as 65536, 64KiB or 64MiB", show(s))
	}, func(n T) string {
		for _, u := range units {
			if int64(n) >= u.bytes && int64(n)%u.bytes == 0 && u.name != "B" {
				return strconv.FormatInt(int64(n)/u.bytes, 10) + u.name
			}
		}
		return strconv.FormatInt(int64(n), 10)
	}}
}

// rate is so many a second, and so many at once.
func rate(at field[session.Rate]) kind {
	return quoted(scalar(at, form[session.Rate]{"a rate, above 0", func(s string) (session.Rate, error) {
		wrong := fmt.Errorf("%s is not a rate such as 256/1024, so many a second and so many at once", show(s))
		per, burst, found := strings.Cut(s, "/")
		p, err := strconv.ParseFloat(per, 64)
		if !found || err != nil || math.IsNaN(p) || math.IsInf(p, 0) {
			return session.Rate{}, wrong
		}
		b, err := strconv.ParseInt(burst, 10, 32)
		if err != nil {
			return session.Rate{}, wrong
		}
		if p <= 0 || b <= 0 {
			return session.Rate{}, fmt.Errorf("%s is not above 0", show(s))
		}
		return session.Rate{PerSecond: p, Burst: int(b)}, nil
	}, func(r session.Rate) string {
		return strconv.FormatFloat(r.PerSecond, 'g', -1, 64) + "/" + strconv.Itoa(r.Burst)
	}}))
}

// webOrigin is of web pages, as browsers name it.
func webOrigin() form[string] {
	return form[string]{"a list of origins", func(s string) (string, error) {
		if err := api.CheckOrigin(s); err != nil {
			return "", err
		}
		return printable(s)
	}, identity}
}

// network is one address, or those that begin alike.
func network() form[netip.Prefix] {
	return form[netip.Prefix]{"a list of networks", func(s string) (netip.Prefix, error) {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return p, fmt.Errorf("%s is not a network such as 10.0.0.0/8", show(s))
		}
		if p != p.Masked() {
			return p, fmt.Errorf("%s is an address within a network; the network is %s, the address alone %s", show(s), p.Masked(), p.Addr())
		}
		return p, nil
	}, netip.Prefix.String}
}

// place is a URL that holds no secret: one with a user or password is refused.
func place(at field[string], values string, schemes ...string) kind {
	return quoted(scalar(at, form[string]{values, func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		u, err := url.Parse(s)
		if err == nil && u.User != nil {
			return "", errors.New("holds a user or password, which a setting never does")
		}
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			return "", fmt.Errorf("%s is not %s", show(s), values)
		}
		return printable(s)
	}, identity}))
}

// show quotes what somebody gave, as far as it fits into a line.
func show(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
