package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-im/rookery/bench/hostile"
	"github.com/rookery-im/rookery/bench/load"
	"github.com/rookery-im/rookery/bench/report"
)

// SlowedMost is how much slower an attack may make the others.
const SlowedMost = 1.2

// ordeal is an attack that is measured: what the others felt in each round
// without it, with it, and with a control that takes the same processor time.
type ordeal struct {
	name                   string
	without, with, control []report.Phase
	said                   []hostile.Report
}

// recovery is what the node gets to be itself again after an attack.
const recovery = 500 * time.Millisecond

// round measures the three, one right after the other. The control comes last,
// since it has to know what the attacker took.
func (o *ordeal) round(ctx context.Context, h *Hostile, env *Env, w *World, field hostile.Field) error {
	stretch := Stretch{Name: "before " + o.name, Drive: load.Drive{Rate: h.Rate}, Warm: h.Warm, During: h.During}
	p, err := w.Measure(ctx, stretch)
	if err != nil {
		return err
	}
	o.without = append(o.without, p)
	orders := hostile.Orders{Attack: o.name, Field: field, During: h.Warm + h.During}
	stretch.Name = o.name
	p, said, err := env.beside(ctx, w, stretch, orders)
	if err != nil {
		return err
	}
	o.with, o.said = append(o.with, p), append(o.said, said)
	select {
	case <-time.After(recovery):
	case <-ctx.Done():
		return ctx.Err()
	}
	orders.Attack, orders.Cores = hostile.Control, said.CPU.Seconds()/orders.During.Seconds()
	stretch.Name = "control " + o.name
	p, _, err = env.beside(ctx, w, stretch, orders)
	if err != nil {
		return err
	}
	o.control = append(o.control, p)
	return nil
}

// slowed compares the medians of the rounds.
func (o *ordeal) slowed() (p50, p99 float64) {
	return over(middle(o.with, p50Of), middle(o.control, p50Of)), over(middle(o.with, p99Of), middle(o.control, p99Of))
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func p50Of(p report.Phase) float64 {
	if p.DeliverMs == nil {
		return 0
	}
	return p.DeliverMs.P50
}

func p99Of(p report.Phase) float64 {
	if p.DeliverMs == nil {
		return 0
	}
	return p.DeliverMs.P99
}

// middle is the median of a figure; of an even number the lower one.
func middle(phases []report.Phase, of func(report.Phase) float64) float64 {
	all := make([]float64, 0, len(phases))
	for _, p := range phases {
		all = append(all, of(p))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)-1)/2]
}

// spread is by how much the phases without an attack differ at p99, the
// controls among them: what is within it cannot be told from chance.
func (o *ordeal) spread() float64 {
	calm := slices.Concat(o.without, o.control)
	least, most := p99Of(calm[0]), p99Of(calm[0])
	for _, p := range calm {
		least, most = min(least, p99Of(p)), max(most, p99Of(p))
	}
	return over(most, least)
}

// String is the verdict, for people.
func (o *ordeal) String() string {
	p50, p99 := o.slowed()
	if p50 == 0 || p99 == 0 {
		return o.name + ": too little was delivered to compare"
	}
	verdict := "within"
	if p50 > SlowedMost || p99 > SlowedMost {
		verdict = "NOT within"
	}
	cores := func(p report.Phase) float64 { return p.ServerCores }
	last := o.said[len(o.said)-1]
	return fmt.Sprintf("%s: delivered at p50 %.2f and p99 %.2f ms, with the control %.2f and %.2f: x%.2f and x%.2f, %s 20 %% (without either %.2f and %.2f; calm phases differ by x%.2f at p99); the node used %.2f cores instead of %.2f; the last attacker %.1f s: %s",
		o.name, middle(o.with, p50Of), middle(o.with, p99Of), middle(o.control, p50Of), middle(o.control, p99Of), p50, p99, verdict,
		middle(o.without, p50Of), middle(o.without, p99Of), o.spread(), middle(o.with, cores), middle(o.control, cores), last.CPU.Seconds(), last.Score)
}
