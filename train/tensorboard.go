package train

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/skive-ml/skive/internal/bounded"
)

// EventsFile is the name of the event file in Options.TensorBoard. TensorBoard
// takes every file with "tfevents" in its name.
const EventsFile = "events.out.tfevents.0.skive"

// Field numbers of TensorFlow's event.proto and summary.proto.
const (
	eventWallTime    = 1 // double, seconds since 1970
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5 // Summary
	summaryValue     = 1 // repeated Value
	valueTag         = 1 // string
	valueSimple      = 2 // float
)

// eventLog writes an event file of TensorBoard: a sequence of TFRecords that hold one Event each.
// A nil eventLog writes nothing.
type eventLog struct {
	f   *os.File
	w   *bufio.Writer
	now func() time.Time
}

// openEvents opens the event file in dir. It keeps the events of the first steps steps, which a
// resumed run has already done.
func openEvents(dir string, steps int) (*eventLog, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, EventsFile), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	l := &eventLog{f: f, w: bufio.NewWriter(f), now: time.Now}
	if err := l.keep(steps); err != nil {
		f.Close()
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	return l, nil
}

// keep cuts the file after the events of the given steps, or starts a new file if there is none.
func (l *eventLog) keep(steps int) error {
	var kept int64
	if steps > 0 {
		old, err := bounded.ReadAll(l.f, maxLog)
		if err != nil {
			return err
		}
		kept = int64(keepEvents(old, steps))
	}
	if err := l.f.Truncate(kept); err != nil {
		return err
	}
	if _, err := l.f.Seek(kept, io.SeekStart); err != nil {
		return err
	}
	if kept > 0 {
		return nil
	}
	return l.write(0, protowire.AppendString(protowire.AppendTag(nil, eventFileVersion, protowire.BytesType), "brain.Event:2"))
}

// keepEvents returns the length of the first records, up to and including the given step. It
// stops at a record that a killed process left incomplete.
func keepEvents(b []byte, steps int) int {
	end := 0
	for {
		event, n := readRecord(b[end:])
		if n == 0 || eventStepOf(event) > int64(steps) {
			return end
		}
		end += n
	}
}

// eventStepOf returns the step of an event. Protocol buffers leave out the field if it is 0.
func eventStepOf(event []byte) int64 {
	for len(event) > 0 {
		number, kind, n := protowire.ConsumeTag(event)
		if n < 0 {
			return 0
		}
		if number == eventStep && kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(event[n:])
			return int64(v)
		}
		m := protowire.ConsumeFieldValue(number, kind, event[n:])
		if m < 0 {
			return 0
		}
		event = event[n+m:]
	}
	return 0
}

// step writes the numbers of a step.
func (l *eventLog) step(r Record) error {
	if l == nil {
		return nil
	}
	values := map[string]float64{"loss": r.Loss, "lr": r.LR, "grad_norm": r.GradNorm, "tokens": float64(r.Tokens)}
	if len(r.Losses) > 1 {
		for name, v := range r.Losses {
			values["losses/"+name] = v
		}
	}
	return l.scalars(r.Step, values)
}

// evaluation writes the metrics on the development set.
func (l *eventLog) evaluation(e Evaluation) error {
	if l == nil {
		return nil
	}
	values := make(map[string]float64)
	for name, v := range e.Metrics {
		values["dev/"+name] = v
	}
	return l.scalars(e.Step, values)
}

func (l *eventLog) scalars(step int, values map[string]float64) error {
	var summary []byte
	for _, tag := range slices.Sorted(maps.Keys(values)) {
		value := protowire.AppendTag(nil, valueTag, protowire.BytesType)
		value = protowire.AppendString(value, tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(values[tag])))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	return l.write(step, protowire.AppendBytes(protowire.AppendTag(nil, eventSummary, protowire.BytesType), summary))
}

// write appends one event with the content what, and adds the time and the step.
func (l *eventLog) write(step int, what []byte) error {
	seconds := float64(l.now().UnixMicro()) / 1e6
	event := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	event = protowire.AppendFixed64(event, math.Float64bits(seconds))
	if step > 0 {
		event = protowire.AppendTag(event, eventStep, protowire.VarintType)
		event = protowire.AppendVarint(event, uint64(step))
	}
	if _, err := l.w.Write(appendRecord(nil, append(event, what...))); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// flush makes what was written so far visible to readers of the file.
func (l *eventLog) flush() error {
	if l == nil {
		return nil
	}
	if err := l.w.Flush(); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

func (l *eventLog) close() error {
	if l == nil {
		return nil
	}
	if err := l.flush(); err != nil {
		l.f.Close()
		return err
	}
	return l.f.Close()
}

// appendRecord frames data as a TFRecord: length, masked checksum of the length,
// data, masked checksum of the data, little-endian.
func appendRecord(b, data []byte) []byte {
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(append(b, length...), maskedChecksum(length))
	return binary.LittleEndian.AppendUint32(append(b, data...), maskedChecksum(data))
}

// readRecord returns the data of the first record in b, and the length of that record, which is 0
// if b has no complete one.
func readRecord(b []byte) ([]byte, int) {
	const head, foot = 12, 4
	if len(b) < head+foot || binary.LittleEndian.Uint32(b[8:]) != maskedChecksum(b[:8]) {
		return nil, 0
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b)-head-foot) {
		return nil, 0
	}
	data := b[head : head+n]
	if binary.LittleEndian.Uint32(b[head+n:]) != maskedChecksum(data) {
		return nil, 0
	}
	return data, head + int(n) + foot
}

// maskedChecksum returns CRC-32C, rotated and shifted by a constant as in TFRecords.
func maskedChecksum(b []byte) uint32 {
	sum := crc32.Checksum(b, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}
