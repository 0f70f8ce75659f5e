package council

import (
	"log/slog"
	"slices"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// PulseEvery is how often group 0's leader says which view is the newest.
const PulseEvery = time.Second

// HeraldConfig is what a Herald needs. All of it is required.
type HeraldConfig struct {
	Self    string
	Council *Council
	// View that the node knows; nil where it knows none.
	View func() *control.View
	// Take over a view, unless it is older.
	Take func(*control.View)
	// Confirm that the view is the newest, as of now.
	Confirm func()
	// Member says whether the node has been admitted.
	Member func() bool
	// Send is as the Council's. Loose gives a word that may be lost.
	Send  func(to string, w *controlpb.Word) error
	Loose func(to string, w *controlpb.Word)
	Log   *slog.Logger
}

// Herald carries views: group 0's leader tells each new one to all members, and
// which is the newest by a pulse to everybody, every PulseEvery; who has an older
// one then asks for it. It belongs to the loop.
type Herald struct{ config HeraldConfig }

// NewHerald has said nothing yet.
func NewHerald(config HeraldConfig) *Herald { return &Herald{config} }

// Tell all members of a new view, those as well that are none any more. By the
// leader only. Was is the view before it, or nil.
func (h *Herald) Tell(was, v *control.View) {
	h.config.Confirm()
	var to []string
	for _, v := range []*control.View{was, v} {
		if v == nil {
			continue
		}
		for _, m := range v.Members {
			if m.Node != h.config.Self && !slices.Contains(to, m.Node) {
				to = append(to, m.Node)
			}
		}
	}
	p := v.Proto()
	for _, node := range to {
		if err := h.config.Send(node, &controlpb.Word{Body: &controlpb.Word_View{View: p}}); err != nil { // it asks, when it hears a pulse
			h.config.Log.Debug("a view is not said", "to", node, "err", err)
		}
	}
}

// Beat says to these nodes which view is the newest. By the leader only.
func (h *Herald) Beat(nodes []string) {
	v := h.config.View()
	if v == nil {
		return
	}
	h.config.Confirm()
	for _, node := range nodes {
		h.config.Loose(node, &controlpb.Word{Body: &controlpb.Word_Pulse{Pulse: &controlpb.Pulse{Version: v.Version}}})
	}
}

// Hear what another node says of the cluster.
func (h *Herald) Hear(from string, w *controlpb.Word) {
	switch b := w.GetBody().(type) {
	case *controlpb.Word_Ask:
		h.config.Council.Asked(from, b.Ask)
	case *controlpb.Word_Answer:
		h.config.Council.Answered(from, b.Answer)
	case *controlpb.Word_View:
		h.heardView(from, b.View)
	case *controlpb.Word_Pulse:
		h.heardPulse(from, b.Pulse.GetVersion())
	}
}

// heardView of who leads group 0, or has led it.
func (h *Herald) heardView(from string, p *controlpb.View) {
	v, err := control.ViewOf(p)
	if err != nil {
		h.config.Log.Warn("another node has a view that cannot be read", "node", from, "err", err)
		return
	}
	if was := h.config.View(); was == nil || v.Version >= was.Version {
		h.config.Confirm()
	}
	h.config.Take(v)
}

func (h *Herald) heardPulse(from string, version uint64) {
	v := h.config.View()
	if v != nil && v.Version >= version {
		h.config.Confirm()
		return
	}
	if !h.config.Member() {
		return // it comes with being admitted
	}
	h.config.Council.AskNode(from, &controlpb.Ask{Body: &controlpb.Ask_View{View: &controlpb.Nothing{}}}, PulseEvery, func(a *controlpb.Answer, err error) {
		if Verdict(a, err) != nil {
			return // the next pulse comes soon
		}
		if v, err := control.ViewOf(a.GetView()); err == nil {
			h.config.Take(v)
		}
	})
}
