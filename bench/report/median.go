package report

import (
	"fmt"
	"slices"

	"github.com/rookery-im/rookery/bench/load/ledger"
)

// Median of several runs: a result whose figures are medians, each of its own,
// with their spread. The phases are those of the run that is in the middle by
// its first figure. One run is its own median.
func Median(runs []Result) *Result {
	if len(runs) == 1 {
		return &runs[0]
	}
	byFirst := slices.Clone(runs)
	slices.SortStableFunc(byFirst, func(a, b Result) int {
		fa, fb := Figures(&a), Figures(&b)
		switch {
		case len(fa) == 0 || len(fb) == 0 || fa[0].Value == fb[0].Value:
			return 0
		case fa[0].Value < fb[0].Value:
			return -1
		}
		return 1
	})
	mid := clone(byFirst[(len(byFirst)-1)/2])
	mid.Spread = map[string][2]float64{}
	mid.Started, mid.Seconds = runs[0].Started, 0
	// What is wrong in any run is wrong.
	mid.Valid, mid.Invalid, mid.Notes, mid.Problems = true, nil, nil, nil
	values := map[string][]float64{}
	var t ledger.Tally
	for i := range runs {
		r := &runs[i]
		for _, f := range Figures(r) {
			values[f.Name] = append(values[f.Name], f.Value)
		}
		mid.Seconds += r.Seconds
		t = t.Plus(r.Tally)
		mid.Valid = mid.Valid && r.Valid
		mid.Invalid = append(mid.Invalid, numbered(i, r.Invalid)...)
		mid.Notes = append(mid.Notes, numbered(i, r.Notes)...)
		mid.Problems = append(mid.Problems, numbered(i, r.Problems)...)
	}
	mid.Account(t)
	for _, f := range figures(&mid) {
		v := values[f.Name]
		slices.Sort(v)
		*f.at = v[len(v)/2]
		if len(v)%2 == 0 {
			*f.at = (v[len(v)/2-1] + v[len(v)/2]) / 2
		}
		mid.Spread[f.Name] = [2]float64{v[0], v[len(v)-1]}
	}
	mid.Runs = runs
	return &mid
}

// numbered says of which run each text is.
func numbered(i int, texts []string) (out []string) {
	for _, t := range texts {
		out = append(out, fmt.Sprintf("run %d: %s", i+1, t))
	}
	return out
}

// clone copies what medians are written into.
func clone(r Result) Result {
	copyOf(&r.SentMs)
	copyOf(&r.DeliverMs)
	copyOf(&r.ReceiptMs)
	copyOf(&r.DiskSyncMs)
	copyOf(&r.Window1)
	copyOf(&r.Resident)
	return r
}

func copyOf[T any](p **T) {
	if *p != nil {
		v := **p
		*p = &v
	}
}
