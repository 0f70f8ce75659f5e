package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Orders are what an attacker that is a process of its own is told.
type Orders struct {
	Attack string        `json:"attack"`
	Field  Field         `json:"field"`
	During time.Duration `json:"during"`
	// Cores is how much of the processors the attack called Control takes.
	Cores float64 `json:"cores,omitempty"`
}

// Report is what it says when it has ended.
type Report struct {
	Score string        `json:"score"`
	Error string        `json:"error,omitempty"`
	CPU   time.Duration `json:"cpu"` // that it took itself
}

// Command is the word by which the harness starts an attacker's process.
const Command = "attacker"

// Names of all attacks.
func Names() (names []string) {
	for _, a := range Attacks() {
		names = append(names, a.Name)
	}
	return names
}

// Find an attack by its name.
func Find(name string) (Attack, bool) {
	for _, a := range Attacks() {
		if a.Name == name {
			return a, true
		}
	}
	return Attack{}, false
}

// Serve is an attacker's process: it reads its orders, attacks, and reports.
// It yields the processor to everybody else on the machine, which an attacker
// elsewhere would not take.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var o Orders
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("hostile: orders: %w", err)
	}
	a, ok := Find(o.Attack)
	if o.Attack == Control {
		a, ok = control(o.Cores), true
	}
	if !ok {
		return fmt.Errorf("hostile: there is no attack %q", o.Attack)
	}
	yield, cpu := yieldProcessor(), processorTime()
	ctx, cancel := context.WithTimeout(ctx, o.During)
	defer cancel()
	s, err := a.run(ctx, &o.Field)
	err = errors.Join(yield, err)
	r := Report{Score: s.String(), CPU: processorTime() - cpu}
	if err != nil {
		r.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(r)
}
