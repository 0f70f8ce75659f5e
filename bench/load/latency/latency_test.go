package latency

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// Two workers' histograms together are the histogram of all, by way of another
// process too; the mean of their percentiles would be far off.
func TestMerging(t *testing.T) {
	fast, slow, all := New(), New(), New()
	for i := range 10_000 {
		d := time.Duration(i%100+1) * 10 * time.Microsecond
		fast.Record(d)
		all.Record(d)
	}
	for i := range 500 {
		d := time.Duration(i+1) * time.Millisecond
		slow.Record(d)
		all.Record(d)
	}
	text, err := json.Marshal(slow)
	if err != nil {
		t.Fatal(err)
	}
	var moved Histogram
	if err := json.Unmarshal(text, &moved); err != nil {
		t.Fatal(err)
	}
	sum := New()
	sum.Add(fast)
	sum.Add(&moved)
	sum.Add(nil)
	if *sum.Quantiles() != *all.Quantiles() {
		t.Errorf("merged %+v, all in one %+v", sum.Quantiles(), all.Quantiles())
	}
	if p99 := sum.Quantile(99); math.Abs(Millis(p99)-395) > 2 {
		t.Errorf("p99 is %v, want about 395 ms", p99)
	}
}

func TestBounds(t *testing.T) {
	h := New()
	h.Record(-time.Second)
	h.Record(time.Hour)
	if h.Count() != 2 || h.Longest() < Max || h.Quantile(1) != 0 {
		t.Errorf("count %d, longest %v, least %v", h.Count(), h.Longest(), h.Quantile(1))
	}
	if New().Quantiles() != nil || New().Curve() != nil {
		t.Error("nothing has no percentiles")
	}
	h = New()
	for range 100 {
		h.Record(time.Millisecond)
	}
	if c := h.Curve(); c[len(c)-1].Percent != 100 || c[len(c)-2].Percent != 99 {
		t.Errorf("a hundred have no percentile past 99: %v", c)
	}
}
