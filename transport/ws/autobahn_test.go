package ws

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// autobahnCase is one case of the Autobahn test suite (or several that differ
// in nothing a parser sees), by the bytes it sends and what they must be taken
// for. An echo server that answers each event passes.
type autobahnCase struct {
	cases string
	send  []frame
	want  []string
}

func text(s string) frame            { return frame{op: Text, payload: s} }
func binary_(s string) frame         { return frame{op: Binary, payload: s} }
func ping(s string) frame            { return frame{op: Ping, payload: s} }
func pong(s string) frame            { return frame{op: Pong, payload: s} }
func part(op Opcode, s string) frame { return frame{op: op, more: true, payload: s} }
func last(s string) frame            { return frame{op: Continuation, payload: s} }
func closing(payload string) frame   { return frame{op: Close, payload: payload} }
func code(c int, reason string) string {
	return string([]byte{byte(c >> 8), byte(c)}) + reason
}

func repeat(n int, f frame) []frame { return slices.Repeat([]frame{f}, n) }
func join(parts ...[]frame) []frame { return slices.Concat(parts...) }
func reserved(f frame, rsv byte) frame {
	f.rsv = rsv << 4
	return f
}

func autobahnCases() []autobahnCase {
	var out []autobahnCase
	add := func(cases string, send []frame, want ...string) {
		out = append(out, autobahnCase{cases, send, want})
	}
	framing(add)
	pings(add)
	reservedBits(add)
	opcodes(add)
	fragmentation(add)
	utf8Cases(add)
	closeCases(add)
	sizes(add)
	return out
}

type adder func(cases string, send []frame, want ...string)

func framing(add adder) {
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536, 65536} {
		s := strings.Repeat("*", n)
		b := strings.Repeat("\xfe", n)
		add(fmt.Sprintf("1.1.%d", i+1), []frame{text(s)}, "text "+brief([]byte(s)))
		add(fmt.Sprintf("1.2.%d", i+1), []frame{binary_(b)}, "binary "+brief([]byte(b)))
	}
}

func pings(add adder) {
	long := strings.Repeat("\xfe", 125)
	add("2.1", []frame{ping("")}, `ping ""`)
	add("2.2", []frame{ping("Hello, world!")}, `ping "Hello, world!"`)
	add("2.3", []frame{ping("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}, `ping "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"`)
	add("2.4, 2.6", []frame{ping(long)}, "ping "+brief([]byte(long)))
	add("2.5", []frame{ping(long + "\xfe")}, "fault 1002")
	add("2.7", []frame{pong("")}, `pong ""`)
	add("2.8", []frame{pong("unsolicited pong payload")}, `pong "unsolicited pong payload"`)
	add("2.9", []frame{pong("unsolicited"), ping("mine")}, `pong "unsolicited"`, `ping "mine"`)
	var ten []frame
	var want []string
	for i := range 10 {
		ten = append(ten, ping(fmt.Sprintf("payload-%d", i)))
		want = append(want, fmt.Sprintf(`ping "payload-%d"`, i))
	}
	add("2.10, 2.11", ten, want...)
}

func reservedBits(add adder) {
	hello := text("Hello, world!")
	add("3.1", []frame{reserved(hello, 1)}, "fault 1002")
	add("3.2", []frame{hello, reserved(hello, 2), ping("")}, `text "Hello, world!"`, "fault 1002")
	add("3.3, 3.4", []frame{hello, reserved(hello, 3), ping("")}, `text "Hello, world!"`, "fault 1002")
	add("3.5", []frame{reserved(binary_("\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), 5)}, "fault 1002")
	add("3.6", []frame{reserved(ping("Hello, world!"), 6)}, "fault 1002")
	add("3.7", []frame{reserved(closing(""), 7)}, "fault 1002")
}

func opcodes(add adder) {
	hello := text("Hello, world!")
	for i := range 5 {
		payload := ""
		if i > 0 {
			payload = "reserved opcode payload"
		}
		first := []frame{{op: Opcode(3 + i), payload: payload}}
		second := []frame{{op: Opcode(11 + i), payload: payload}}
		if i < 2 {
			add(fmt.Sprintf("4.1.%d", i+1), first, "fault 1002")
			add(fmt.Sprintf("4.2.%d", i+1), second, "fault 1002")
			continue
		}
		add(fmt.Sprintf("4.1.%d", i+1), join([]frame{hello}, first, []frame{ping("")}), `text "Hello, world!"`, "fault 1002")
		add(fmt.Sprintf("4.2.%d", i+1), join([]frame{hello}, second, []frame{ping("")}), `text "Hello, world!"`, "fault 1002")
	}
}

func fragmentation(add adder) {
	one, two := "fragment1", "fragment2"
	whole := `text "fragment1fragment2"`
	add("5.1", []frame{{op: Ping, more: true, payload: one}, last(two)}, "fault 1002")
	add("5.2", []frame{{op: Pong, more: true, payload: one}, last(two)}, "fault 1002")
	add("5.3, 5.4, 5.5", []frame{part(Text, one), last(two)}, whole)
	add("5.6, 5.7, 5.8", []frame{part(Text, one), ping("ping payload"), last(two)}, `ping "ping payload"`, whole)
	add("5.9, 5.10", []frame{last("non-continuation payload"), text("Hello, world!")}, "fault 1002")
	add("5.11", []frame{last("non-continuation payload"), text("Hello, world!")}, "fault 1002")
	add("5.12, 5.13, 5.14", []frame{part(Continuation, "non-continuation payload"), text("Hello, world!")}, "fault 1002")
	add("5.15", []frame{part(Text, one), last(two), part(Continuation, "fragment3"), text("fragment4")}, whole, "fault 1002")
	add("5.16, 5.17", []frame{part(Continuation, one), part(Text, two), last("fragment3")}, "fault 1002")
	add("5.18", []frame{part(Text, one), text(two)}, "fault 1002")
	add("5.19, 5.20", []frame{
		part(Text, one), part(Continuation, two), ping("pongme 1!"),
		part(Continuation, "fragment3"), part(Continuation, "fragment4"), ping("pongme 2!"), last("fragment5"),
	}, `ping "pongme 1!"`, `ping "pongme 2!"`, "text "+brief([]byte("fragment1fragment2fragment3fragment4fragment5")))
}

func utf8Cases(add adder) {
	greek := "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
	add("6.1.1", []frame{text("")}, `text ""`)
	add("6.1.2", []frame{part(Text, ""), part(Continuation, ""), last("")}, `text ""`)
	add("6.1.3", []frame{part(Text, ""), part(Continuation, "middle frame payload"), last("")}, `text "middle frame payload"`)
	add("6.2.1", []frame{text("Hello-µ@ßöäüàá-UTF-8!!")}, "text "+brief([]byte("Hello-µ@ßöäüàá-UTF-8!!")))
	add("6.2.2", []frame{part(Text, "Hello-µ@ßöä"), last("üàá-UTF-8!!")}, "text "+brief([]byte("Hello-µ@ßöäüàá-UTF-8!!")))
	var octets []frame
	for i := range len(greek) {
		octets = append(octets, part(Continuation, greek[i:i+1]))
	}
	octets[0].op, octets[len(octets)-1].more = Text, false
	add("6.2.3, 6.2.4", octets, "text "+brief([]byte(greek)))
	bad := greek + "\xed\xa0\x80edited"
	add("6.3.1", []frame{text(bad)}, "fault 1007")
	add("6.3.2", []frame{part(Text, bad[:12]), last(bad[12:])}, "fault 1007")
	// Fail fast: the wrong byte stands in a fragment that is not the last.
	add("6.4.1, 6.4.3", []frame{part(Text, greek), part(Continuation, "\xf4\x90\x80\x80")}, "fault 1007")
	add("6.4.2, 6.4.4", []frame{part(Text, greek+"\xf4"), part(Continuation, "\x90")}, "fault 1007")
	for i, s := range validTexts {
		add(fmt.Sprintf("6.5-6.23 valid %d", i), []frame{text(s)}, "text "+brief([]byte(s)))
	}
	for i, s := range invalidTexts {
		add(fmt.Sprintf("6.6-6.21 invalid %d", i), []frame{text(s)}, "fault 1007")
		add(fmt.Sprintf("6.6-6.21 invalid %d, fragmented", i), []frame{part(Text, s[:1]), last(s[1:])}, "fault 1007")
	}
}

// The sequences of Autobahn's 6.5 to 6.23, which are Markus Kuhn's.
var validTexts = []string{
	"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", // 6.5.1 to 6.5.5
	"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80", // 6.7.1 to 6.7.4
	"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", // 6.9.1 to 6.9.4
	"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", // 6.11.1 to 6.11.3
	"\xf4\x8f\xbf\xbf",                                                     // 6.11.4
	"\xef\xbf\xbe", "\xef\xbf\xbf", "\xf0\x9f\xbf\xbe", "\xf0\x9f\xbf\xbf", // 6.22.1 on
	"\xf1\x8f\xbf\xbe", "\xf3\xaf\xbf\xbf", "\xf4\x8f\xbf\xbe", // 6.22.*
	"\xef\xbf\xb9", "\xef\xbf\xba", "\xef\xbf\xbf", // 6.23.*
}

var invalidTexts = []string{
	"\xce", "\xe1\xbd", "\xce\xba\xe1", // 6.6.*
	"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", // 6.8.*
	"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", // 6.10.*
	"\xf4\x90\x80\x80",                                         // 6.11.5
	"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80\xbf\x80\xbf\xbe", // 6.12.*
	"\xc0\x20\xc1\x20", "\xe0\x20\xe1\x20", "\xf0\x20", "\xf8\x20", "\xfc\x20", // 6.13.*
	"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", // 6.14.*
	"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80", // 6.15.1
	"\xfe", "\xff", "\xfe\xfe\xff\xff", // 6.16.*
	"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", // 6.17.*
	"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", // 6.18.*
	"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", // 6.19.*
	"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xbf\xbf", // 6.20.*
	"\xed\xa0\x80\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf", // 6.21.*
}

func closeCases(add adder) {
	add("7.1.1", []frame{text("Hello World!"), closing(code(1000, ""))}, `text "Hello World!"`, `close 1000 ""`)
	add("7.1.2", []frame{closing(code(1000, "")), closing(code(1000, ""))}, `close 1000 ""`)
	add("7.1.3", []frame{closing(code(1000, "")), ping("")}, `close 1000 ""`)
	add("7.1.4", []frame{closing(code(1000, "")), text("Hello World!")}, `close 1000 ""`)
	add("7.1.5", []frame{part(Text, "fragment1"), closing(code(1000, "")), last("fragment2")}, `close 1000 ""`)
	add("7.1.6", []frame{text(strings.Repeat("BAsd7&jh23", 26214)), text("Hello World!"), closing(code(1000, "")), ping("")},
		`text 262140 bytes of "BAsd"`, `text "Hello World!"`, `close 1000 ""`)
	add("7.3.1", []frame{closing("")}, `close 1005 ""`)
	add("7.3.2", []frame{closing("a")}, "fault 1002")
	add("7.3.3", []frame{closing(code(1000, ""))}, `close 1000 ""`)
	add("7.3.4", []frame{closing(code(1000, "Hello World!"))}, `close 1000 "Hello World!"`)
	long := strings.Repeat("*", 123)
	add("7.3.5", []frame{closing(code(1000, long))}, "close 1000 "+brief([]byte(long)))
	add("7.3.6", []frame{closing(code(1000, long+"*"))}, "fault 1002")
	add("7.5.1", []frame{closing(code(1000, "\xce\xba\xed\xa0\x80edited"))}, "fault 1007")
	for i, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		add(fmt.Sprintf("7.7.%d", i+1), []frame{closing(code(c, ""))}, fmt.Sprintf(`close %d ""`, c))
	}
	for i, c := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999} {
		add(fmt.Sprintf("7.9.%d", i+1), []frame{closing(code(c, ""))}, "fault 1002")
	}
	add("7.13.1", []frame{closing(code(5000, ""))}, "fault 1002")
	add("7.13.2", []frame{closing(code(65535, ""))}, "fault 1002")
}

// Autobahn's sizes go to 16 MiB, the table's to 256 KiB: past the largest
// header encoding a larger message takes the same way, which 9.1.6 shows in
// TestAutobahnLarge.
func sizes(add adder) {
	for i, n := range []int{64 << 10, 256 << 10} {
		s := strings.Repeat("*", n)
		add(fmt.Sprintf("9.1.%d", i+1), []frame{text(s)}, "text "+brief([]byte(s)))
		add(fmt.Sprintf("9.2.%d", i+1), []frame{binary_(s)}, "binary "+brief([]byte(s)))
	}
	for i, n := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		const whole = 128 << 10
		fragments := repeat(whole/n, part(Continuation, strings.Repeat("*", n)))
		fragments[len(fragments)-1].more = false
		for group, op := range map[int]Opcode{3: Text, 4: Binary} {
			these := slices.Clone(fragments)
			these[0].op = op
			add(fmt.Sprintf("9.%d.%d", group, i+1), these, fmt.Sprintf(`%v %d bytes of "****"`, op, whole))
		}
		s := strings.Repeat("*", n)
		add(fmt.Sprintf("9.7.%d", i+1), repeat(20, text(s)), slices.Repeat([]string{"text " + brief([]byte(s))}, 20)...)
		add(fmt.Sprintf("9.8.%d", i+1), repeat(20, binary_(s)), slices.Repeat([]string{"binary " + brief([]byte(s))}, 20)...)
	}
	s := strings.Repeat("*", 1300*50)
	var chunks []frame
	for i := range 50 {
		chunks = append(chunks, part(Continuation, s[i*1300:(i+1)*1300]))
	}
	chunks[0].op, chunks[49].more = Text, false
	add("10.1.1", []frame{text(s)}, "text "+brief([]byte(s)))
	add("10.1.1, fragmented", chunks, "text "+brief([]byte(s)))
}

// How bytes are cut by the network changes nothing: every case is fed whole,
// in single bytes (the octet-wise cases, 2.6, 2.11, 3.4, 5.5, 5.8 and 9.5, 9.6),
// and cut at random.
func TestAutobahn(t *testing.T) {
	const seed = 20
	for _, c := range autobahnCases() {
		t.Run(c.cases, func(t *testing.T) {
			sent := wire(c.send...)
			cuts := map[string][][]byte{"whole": {sent}}
			if len(sent) < 20_000 {
				cuts["octets"] = chop(sent, 1)
			}
			cuts["1300"] = chop(sent, 1300)
			for i := range 4 {
				cuts[fmt.Sprintf("random %d", seed+i)] = chopRandomly(rand.New(rand.NewPCG(seed, uint64(i))), sent)
			}
			for name, pieces := range cuts {
				if got := feed(t, 512<<10, pieces...); lines(got) != lines(c.want) {
					t.Errorf("%s:\n%s\nwant:\n%s", name, lines(got), lines(c.want))
				}
			}
		})
	}
}

// 9.1.6 and 9.2.6: 16 MiB in one frame, arriving in pieces (9.5, 9.6).
func TestAutobahnLarge(t *testing.T) {
	const n = 16 << 20
	for _, size := range []int{64, 512, 64 << 10} {
		got := feed(t, n, chop(wire(text(strings.Repeat("*", n))), size)...)
		if want := fmt.Sprintf(`text %d bytes of "****"`, n); lines(got) != want {
			t.Errorf("in pieces of %d: %s, want %s", size, lines(got), want)
		}
	}
}
