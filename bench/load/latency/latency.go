// Package latency keeps latencies to the tail in bounded memory, and adds up
// those of several workers without losing any of the tail: histograms are
// merged, never percentiles.
package latency

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The span of what is told apart, at three digits: from a microsecond on. What
// is longer than Max counts as Max.
const (
	unit   = time.Microsecond
	Max    = 2 * time.Minute
	digits = 3
)

// Histogram of latencies. It belongs to one goroutine.
type Histogram struct{ h *hdrhistogram.Histogram }

// New makes an empty one.
func New() *Histogram {
	return &Histogram{hdrhistogram.New(1, int64(Max/unit), digits)}
}

// Record one latency.
func (h *Histogram) Record(d time.Duration) {
	// It fails only outside the bounds, which this stays within.
	_ = h.h.RecordValue(min(max(int64(d/unit), 0), int64(Max/unit)))
}

// Add merges another into h.
func (h *Histogram) Add(o *Histogram) {
	if o != nil {
		h.h.Merge(o.h)
	}
}

// Count of what was recorded.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile in percent.
func (h *Histogram) Quantile(percent float64) time.Duration {
	return time.Duration(h.h.ValueAtQuantile(percent)) * unit
}

// Longest that was recorded.
func (h *Histogram) Longest() time.Duration { return time.Duration(h.h.Max()) * unit }

// MarshalJSON is the whole histogram, for another process.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	b, err := h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("latency: encode: %w", err)
	}
	return json.Marshal(b)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var b []byte
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("latency: decode: %w", err)
	}
	decoded, err := hdrhistogram.Decode(b)
	if err != nil {
		return fmt.Errorf("latency: decode: %w", err)
	}
	h.h = decoded
	return nil
}

// Quantiles in milliseconds, as a report has them.
type Quantiles struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	P9999 float64 `json:"p9999"`
	Max   float64 `json:"max"`
	Count int64   `json:"count"`
}

// Quantiles of h; nil where nothing was recorded.
func (h *Histogram) Quantiles() *Quantiles {
	if h == nil || h.Count() == 0 {
		return nil
	}
	return &Quantiles{
		P50: Millis(h.Quantile(50)), P99: Millis(h.Quantile(99)), P999: Millis(h.Quantile(99.9)), P9999: Millis(h.Quantile(99.99)),
		Max: Millis(h.Longest()), Count: h.Count(),
	}
}

// Point of a distribution: so much of it, in percent, took at most Ms.
type Point struct {
	Percent float64 `json:"percent"`
	Ms      float64 `json:"ms"`
}

// Curve is the distribution at percentiles that come closer towards the tail.
func (h *Histogram) Curve() []Point {
	if h == nil || h.Count() == 0 {
		return nil
	}
	var out []Point
	for _, p := range []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999, 100} {
		if p < 100 && float64(h.Count())*(1-p/100) < 1 {
			continue // no such percentile in so few
		}
		out = append(out, Point{p, Millis(h.Quantile(p))})
	}
	return out
}

// Millis is a duration in milliseconds, to the microsecond.
func Millis(d time.Duration) float64 { return float64(d/time.Microsecond) / 1000 }
