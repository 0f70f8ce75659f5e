package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/ledger"
	"github.com/rookery-im/rookery/bench/machine"
)

// example is a result with everything in it; scale moves its figures.
func example(scale float64) *Result {
	r := New("pairs")
	r.Started = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	q := func(ms float64) *latency.Quantiles {
		return &latency.Quantiles{P50: ms * scale, P99: 5 * ms * scale, P999: 9 * ms * scale, P9999: 10 * ms * scale, Max: 11 * ms * scale, Count: 1000}
	}
	h := latency.New()
	for i := range 10_000 {
		h.Record(time.Duration(i+1) * 10 * time.Microsecond)
	}
	phase := Phase{
		Name: "window 8", Seconds: 20, Messages: 1000, Rate: 50_000 * scale, ServerCPUPerMillion: 20 / scale, SentMs: q(1), LateMs: q(0.01),
		Series: []Second{{At: 1, Rate: 1000, ServerCores: 1, Resident: 1 << 28}, {At: 2, Rate: 1200, ServerCores: 1.1, Resident: 1 << 28}},
		Curves: map[string][]latency.Point{"sent": h.Curve(), "ping": h.Curve()},
	}
	r.Rate, r.ServerCPUPerMillion, r.ClientCPUPerMillion = phase.Rate, phase.ServerCPUPerMillion, 5
	w1 := phase
	w1.Name, w1.Rate = "window 1 <&>", 20_000*scale
	r.Window1, r.Phases = &w1, []Phase{w1, phase}
	r.SentMs, r.DeliverMs, r.ReceiptMs = q(2), q(3), q(40)
	r.DiskSyncMs = &DiskSync{P50: 0.2, P99: 1}
	r.Command = []string{"rookery", "bench", "pairs", "--self", "--json", "x.json"}
	r.Machine = machine.Machine{CPU: "a", Cores: 2, Kernel: "6"}
	r.FileSystem = &machine.FileSystem{Name: "ext4", Device: "/dev/x"}
	r.Account(ledger.Tally{Sent: 1000, Accepted: 1000, Delivered: 1000, Receipted: 1000})
	return r
}

// The names that programs read; see bench/README.md.
func TestNames(t *testing.T) {
	r := example(1)
	r.StoreRate, r.DrainRate, r.DeliveriesPerSecond, r.BytesPerSession, r.KernelBytesPerSession = 1, 1, 1, 1, 1
	r.MaxPauseMs, r.MaxStallMs, r.BytesWrittenPerMessage, r.RecoverSeconds = 1, 1, 1, 1
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"scenario", "rate", "serverCpuPerMillion", "clientCpuPerMillion", "missing", "duplicates", "outOfOrder", "sentMs", "deliverMs", "receiptMs",
		"diskSyncMs", "storeRate", "drainRate", "deliveriesPerSecond", "bytesPerSession", "kernelBytesPerSession", "maxPauseMs", "maxStallMs",
		"bytesWrittenPerMessage", "recoverSeconds", "window1",
	} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is not in %s", name, text)
		}
	}
	for _, name := range []string{"p50", "p99", "p999", "p9999"} {
		if _, ok := got["sentMs"].(map[string]any)[name]; !ok {
			t.Errorf("sentMs.%s is not there", name)
		}
	}
	if got["missing"] != 0.0 {
		t.Error("missing is said also where it is 0")
	}
	// A run without messages says nothing of rates.
	text, err = json.Marshal(New("idle"))
	if err != nil || strings.Contains(string(text), `"rate"`) || !strings.Contains(string(text), `"outOfOrder":0`) {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestTable(t *testing.T) {
	r := example(1)
	r.Notes, r.FileSystem.Memory = []string{"a note"}, true
	r.Invalidate("late by %d ms", 50)
	r.Account(ledger.Tally{Sent: 10, Accepted: 10, Missing: 3})
	var b bytes.Buffer
	if err := Table(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"50,000", "window 8", "3 missing", "FAILED", "NOT VALID: late by 50 ms", "note: a note", "MEMORY, NOT A DISK", "sentMs.p99"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if r.Failed() == nil {
		t.Error("three are missing, and the run has not failed")
	}
}

// The page is well-formed, whole in itself, and has its charts.
func TestPage(t *testing.T) {
	r := Median([]Result{*example(1), *example(2), *example(3)})
	var b bytes.Buffer
	if err := HTML(&b, r); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if n := strings.Count(page, "<svg"); n != 5 { // sent, ping, rate, cores, memory
		t.Errorf("%d charts", n)
	}
	for _, bad := range []string{"<script", "src=", "href=\"http", "@import", "window 1 <&>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for _, want := range []string{"serverCpuPerMillion", "window 1 &lt;&amp;&gt;", "median of 3 runs", "ext4", "--self", "100,000"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	d := xml.NewDecoder(strings.NewReader(strings.ReplaceAll(page, "<!doctype html>", "")))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
	}
}

// Three runs give the median of each figure by itself, and its spread; what is
// wrong in one is wrong in all.
func TestMedian(t *testing.T) {
	a, b, c := example(1), example(3), example(2)
	b.ServerCPUPerMillion = 1
	m := Median([]Result{*a, *b, *c})
	if m.Rate != 100_000 || m.Spread["rate"] != [2]float64{50_000, 150_000} {
		t.Errorf("rate %v, %v", m.Rate, m.Spread["rate"])
	}
	if m.ServerCPUPerMillion != 10 || m.SentMs.P99 != 20 || m.Window1.Rate != 40_000 {
		t.Errorf("cpu %v, p99 %v, window 1 %v", m.ServerCPUPerMillion, m.SentMs.P99, m.Window1.Rate)
	}
	if a.SentMs.P99 != 10 || b.SentMs.P99 != 30 || c.SentMs.P99 != 20 {
		t.Error("the runs themselves were changed")
	}
	if !m.Valid || m.Tally.Sent != 3000 || len(m.Runs) != 3 {
		t.Errorf("valid %v, %d sent, %d runs", m.Valid, m.Tally.Sent, len(m.Runs))
	}
	b.Invalidate("late")
	b.Account(ledger.Tally{Sent: 10, Duplicates: 2})
	m = Median([]Result{*a, *b, *c})
	if m.Valid || m.Duplicates != 2 || m.Failed() == nil {
		t.Errorf("valid %v, %d duplicates, failed: %v", m.Valid, m.Duplicates, m.Failed())
	}
	if one := Median([]Result{*a}); one.Spread != nil || one.Rate != a.Rate {
		t.Error("one run is its own median")
	}
}

func TestCompare(t *testing.T) {
	side := func(scale float64) *Result {
		return Median([]Result{*example(scale), *example(scale * 1.02), *example(scale * 1.04)})
	}
	say := func(a, b *Result) string {
		var out bytes.Buffer
		if err := Compare(&out, a, b); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	row := func(text, name string) string {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, name+" ") {
				return line
			}
		}
		t.Fatalf("%s is not in\n%s", name, text)
		return ""
	}
	twice := say(side(1), side(2))
	if l := row(twice, "rate"); !strings.Contains(l, "2.00 better") {
		t.Errorf("got %s", l)
	}
	if l := row(twice, "serverCpuPerMillion"); !strings.Contains(l, "0.50 better") {
		t.Errorf("got %s", l)
	}
	if l := row(twice, "sentMs.p99"); !strings.Contains(l, "2.00 worse") {
		t.Errorf("got %s", l)
	}
	if l := row(twice, "diskSyncMs.p50"); strings.Contains(l, "better") || strings.Contains(l, "worse") {
		t.Errorf("the disk is neither better nor worse: %s", l)
	}
	if l := row(say(side(1), side(1.01)), "rate"); !strings.Contains(l, " ~") {
		t.Errorf("within the spread nothing is said: %s", l)
	}
	single := say(example(1), example(2))
	if l := row(single, "rate"); strings.Contains(l, "better") {
		t.Errorf("of single runs nothing is known: %s", l)
	}
	if !strings.Contains(single, "fewer than three runs") {
		t.Errorf("got %s", single)
	}
	other := side(2)
	other.Machine.Cores, other.Command = 64, []string{"rookery", "bench", "pairs", "--users", "4", "--json=y.json"}
	other.Invalidate("late")
	unfair := say(side(1), other)
	for _, want := range []string{"the machine differs", "flags differs: bench pairs --self, bench pairs --users 4", "B is not valid: late"} {
		if !strings.Contains(unfair, want) {
			t.Errorf("%q is not in\n%s", want, unfair)
		}
	}
	if err := Compare(io.Discard, example(1), New("idle")); err == nil {
		t.Error("two scenarios are compared")
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.123456: "0.123", 12.345: "12.3", 123.4: "123", 1234: "1,234", 1234567.8: "1,234,568", -1234: "-1,234", 999.6: "1000", 100: "100",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}
