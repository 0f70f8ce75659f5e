package report

import "github.com/rookery-im/rookery/bench/load/latency"

// Better says which way a figure is better.
type Better int8

// The ways.
const (
	Neither Better = iota
	Higher
	Lower
)

// Figure is one number of a result under its published name.
type Figure struct {
	Name   string
	Value  float64
	Unit   string
	Better Better
}

// place is a figure and where it stands.
type place struct {
	Figure
	at *float64
}

// Figures of a result, in the order of the table, only those that are there.
func Figures(r *Result) []Figure {
	var out []Figure
	for _, p := range figures(r) {
		out = append(out, p.Figure)
	}
	return out
}

func figures(r *Result) []place {
	var out []place
	add := func(name string, at *float64, unit string, better Better) {
		if *at != 0 {
			out = append(out, place{Figure{name, *at, unit, better}, at})
		}
	}
	quantiles := func(name string, q *latency.Quantiles) {
		if q == nil {
			return
		}
		add(name+".p50", &q.P50, "ms", Lower)
		add(name+".p99", &q.P99, "ms", Lower)
		add(name+".p999", &q.P999, "ms", Lower)
		add(name+".p9999", &q.P9999, "ms", Lower)
	}
	add("rate", &r.Rate, "messages/s", Higher)
	add("serverCpuPerMillion", &r.ServerCPUPerMillion, "s", Lower)
	add("clientCpuPerMillion", &r.ClientCPUPerMillion, "s", Neither)
	if w := r.Window1; w != nil {
		add("window1.rate", &w.Rate, "messages/s", Higher)
		add("window1.serverCpuPerMillion", &w.ServerCPUPerMillion, "s", Lower)
	}
	add("storeRate", &r.StoreRate, "messages/s", Higher)
	add("drainRate", &r.DrainRate, "messages/s", Higher)
	add("deliveriesPerSecond", &r.DeliveriesPerSecond, "/s", Higher)
	add("recoverSeconds", &r.RecoverSeconds, "s", Lower)
	add("maximum", &r.Maximum, "messages/s", Higher)
	add("acceptedShare", &r.AcceptedShare, "of the maximum", Higher)
	add("acceptedP99Ms", &r.AcceptedP99Ms, "ms", Lower)
	add("p99At90Ms", &r.P99At90Ms, "ms", Lower)
	add("p99Ratio", &r.P99Ratio, "times", Lower)
	add("moveSeconds", &r.MoveSeconds, "s", Lower)
	add("movedReplicas", &r.MovedReplicas, "", Lower)
	add("movedRatio", &r.MovedRatio, "times the least", Lower)
	add("bytesPerSession", &r.BytesPerSession, "B", Lower)
	add("heapBytesPerSession", &r.HeapBytesPerSession, "B", Lower)
	add("otherBytesPerSession", &r.OtherBytesPerSession, "B", Lower)
	add("kernelBytesPerSession", &r.KernelBytesPerSession, "B", Lower)
	if m := r.Resident; m != nil {
		add("resident.heap", &m.Heap, "B/session", Lower)
		add("resident.freeHeap", &m.FreeHeap, "B/session", Lower)
		add("resident.stacks", &m.Stacks, "B/session", Lower)
		add("resident.runtime", &m.Runtime, "B/session", Lower)
		add("resident.files", &m.Files, "B/session", Lower)
		add("resident.offHeap", &m.OffHeap, "B/session", Neither)
	}
	quantiles("sentMs", r.SentMs)
	quantiles("deliverMs", r.DeliverMs)
	quantiles("receiptMs", r.ReceiptMs)
	add("maxPauseMs", &r.MaxPauseMs, "ms", Lower)
	add("maxStallMs", &r.MaxStallMs, "ms", Lower)
	add("bytesWrittenPerMessage", &r.BytesWrittenPerMessage, "B", Lower)
	if d := r.DiskSyncMs; d != nil {
		add("diskSyncMs.p50", &d.P50, "ms", Neither)
		add("diskSyncMs.p99", &d.P99, "ms", Neither)
	}
	return out
}

// phaseNumber and phaseQuantile are the rows of the table of phases.
type phaseNumber struct {
	name  string
	value func(p *Phase) float64
}

type phaseQuantile struct {
	name  string
	value func(p *Phase) *latency.Quantiles
}

func phaseNumbers() []phaseNumber {
	return []phaseNumber{
		{"seconds", func(p *Phase) float64 { return p.Seconds }},
		{"messages", func(p *Phase) float64 { return float64(p.Messages) }},
		{"offered/s", func(p *Phase) float64 { return p.Offered }},
		{"rate /s", func(p *Phase) float64 { return p.Rate }},
		{"deliveries/s", func(p *Phase) float64 { return p.DeliveriesPerSecond }},
		{"server CPU s/M", func(p *Phase) float64 { return p.ServerCPUPerMillion }},
		{"client CPU s/M", func(p *Phase) float64 { return p.ClientCPUPerMillion }},
		{"server cores", func(p *Phase) float64 { return p.ServerCores }},
		{"client cores", func(p *Phase) float64 { return p.ClientCores }},
		{"other cores", func(p *Phase) float64 { return p.OtherCores }},
		{"stolen cores", func(p *Phase) float64 { return p.StealCores }},
		{"client busy %", func(p *Phase) float64 { return 100 * p.ClientBusy }},
		{"resident MiB", func(p *Phase) float64 { return float64(p.ResidentBytes) / (1 << 20) }},
		{"written B/message", func(p *Phase) float64 { return p.BytesWrittenPerMessage }},
		{"log B/message", func(p *Phase) float64 { return p.LogBytes / max(1, float64(p.Messages)) }},
		{"syncs", func(p *Phase) float64 { return p.Syncs }},
		{"sync mean ms", func(p *Phase) float64 { return p.SyncMeanMs }},
		{"checkpoints", func(p *Phase) float64 { return p.Checkpoints }},
		{"collections", func(p *Phase) float64 { return p.Collections }},
		{"longest pause ms", func(p *Phase) float64 { return p.MaxPauseMs }},
		{"refused", func(p *Phase) float64 { return float64(p.Refused) }},
		{"shed by clients", func(p *Phase) float64 { return float64(p.Shed) }},
		{"settled in s", func(p *Phase) float64 { return p.SettleSeconds }},
	}
}

func phaseQuantiles() []phaseQuantile {
	return []phaseQuantile{
		{"sent", func(p *Phase) *latency.Quantiles { return p.SentMs }},
		{"last attempt", func(p *Phase) *latency.Quantiles { return p.AttemptMs }},
		{"deliver", func(p *Phase) *latency.Quantiles { return p.DeliverMs }},
		{"receipt", func(p *Phase) *latency.Quantiles { return p.ReceiptMs }},
		{"hello to drained", func(p *Phase) *latency.Quantiles { return p.HelloMs }},
		{"ping", func(p *Phase) *latency.Quantiles { return p.PingMs }},
		{"generator late", func(p *Phase) *latency.Quantiles { return p.LateMs }},
	}
}
