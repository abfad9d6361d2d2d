package distill

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// ErrShards is returned if shards are not those that a distillation reads.
var ErrShards = errors.New("other shards than this distillation reads")

// errMade ends a run that makes shards before it would train.
var errMade = errors.New("the shards are made")

// making describes the shards that a run makes instead of training.
type making struct {
	ctx      context.Context
	dir      string
	share    settings.Shard
	complete bool
}

// MakeShards computes those outputs of the teacher for text that the losses of a general
// distillation read. It writes them into dir, one file for every 16,384 examples. If several
// processes share the work, each makes the files of its share. Files that exist are left alone.
// complete tells whether all files are there; if so, the manifest is written, too.
func MakeShards(ctx context.Context, teacher, student *checkpoints.Model, text *data.Dataset, dir string, share settings.Shard, o Options) (complete bool, err error) {
	_, release, err := checkpoints.Claim(ctx, filepath.Join(dir, fmt.Sprintf("share-%d-of-%d", share.Index, max(1, share.Of))))
	if err != nil {
		return false, err
	}
	defer release()
	m := &making{ctx: ctx, dir: dir, share: share}
	o.making, o.Output, o.Log, o.TensorBoard, o.Resume, o.Overwrite = m, "", "", "", false, false
	if _, _, err = General(ctx, teacher, student, text, o); errors.Is(err, errMade) {
		err = nil
	}
	return m.complete, err
}

// GeneralFromShards is General on the examples whose outputs MakeShards has written into dir. It
// computes only damaged outputs with the teacher.
func GeneralFromShards(ctx context.Context, teacher, student *checkpoints.Model, dir string, o Options) (*checkpoints.Model, *train.Result, error) {
	set, err := openShards(dir)
	if err != nil {
		return nil, nil, err
	}
	defer set.close()
	text, err := set.dataset()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if length := cmp.Or(o.MaxLength, min(student.Config.MaxTokens(), teacher.Config.MaxTokens())); length != set.MaxLength {
		return nil, nil, settings.Errorf("MaxLength", "%d, but the examples of %s were cut to %d tokens: %w", length, dir, set.MaxLength, ErrShards)
	}
	o.shards = set
	return General(ctx, teacher, student, text, o)
}

// CheckShards reports an error if shards of a directory are missing. MakeShards writes the manifest
// last, so all are there once it exists.
func CheckShards(dir string) error {
	_, err := readShards(dir)
	return err
}

// shardSet is the shards of a directory.
type shardSet struct {
	*shardsManifest
	dir    string
	shards []*shard
}

func openShards(dir string) (*shardSet, error) {
	m, err := readShards(dir)
	if err != nil {
		return nil, err
	}
	s := &shardSet{shardsManifest: m, dir: dir}
	for i := range m.Shards {
		if err := s.open(i); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", shardPath(dir, i), err), s.close())
		}
	}
	return s, nil
}

func (s *shardSet) open(i int) error {
	f, err := openShard(shardPath(s.dir, i), nil)
	if err != nil {
		return err
	}
	s.shards = append(s.shards, f)
	if hex.EncodeToString(f.key[:]) != s.Shards[i] || !slices.Equal(f.Outputs, s.Outputs) || i < len(s.Shards)-1 && f.Examples != shardExamples {
		return fmt.Errorf("not the shard that %s lists", shardsName)
	}
	return nil
}

func (s *shardSet) close() error {
	var errs []error
	for _, f := range s.shards {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// dataset returns the examples of all shards.
func (s *shardSet) dataset() (*data.Dataset, error) {
	var ids, types []int32
	offsets, first := []int32{0}, []int32{0}
	for _, f := range s.shards {
		tokens, sequences := int32(len(ids)), int32(len(offsets)-1)
		ids, types = append(ids, f.ids...), append(types, f.types...)
		for _, end := range f.offsets[1:] {
			offsets = append(offsets, tokens+end)
		}
		for _, end := range f.first[1:] {
			first = append(first, sequences+end)
		}
		f.ids, f.types = nil, nil // one copy is enough
	}
	return data.FromTokens(data.Task{Name: "text", Metric: "accuracy"}, ids, types, offsets, first)
}

// kept is a keeper of an output that is in the shards.
type kept struct {
	*shardSet
	output int
}

func (k *kept) get(i int) []byte {
	if i/shardExamples >= len(k.shards) {
		return nil
	}
	return k.shards[i/shardExamples].get(k.output, i%shardExamples)
}

func (k *kept) put(int, []byte) error { return nil }
func (k *kept) Close() error          { return nil }

// fromShards makes the keepers of a teacher.
func (t *teacher) fromShards(s *shardSet) error {
	key, err := cacheKey(t.model, t.precision)
	if err != nil {
		return err
	}
	if s.Precision != t.precision {
		return settings.Errorf("TeacherPrecision", "%q, but %s is of %q: %w", t.precision, s.dir, s.Precision, ErrShards)
	}
	if hex.EncodeToString(key[:]) != s.Teacher {
		return fmt.Errorf("%s is of another teacher: %w", s.dir, ErrShards)
	}
	var has []string
	for _, o := range s.Outputs {
		has = append(has, o.Name)
	}
	for _, o := range t.outputs {
		i := slices.Index(has, o.name())
		if i < 0 || s.Outputs[i].Columns != o.columns {
			return fmt.Errorf("%s has %v, and the losses read %s: %w", s.dir, has, o.name(), ErrShards)
		}
		o.keeper = &kept{s, i}
	}
	return nil
}

// make writes the shards of a share, and the manifest if all shards are there.
func (m *making) make(t *teacher, set *data.Encoded, maxLength int) error {
	key, err := cacheKey(t.model, t.precision)
	if err != nil {
		return err
	}
	n := (set.Len() + shardExamples - 1) / shardExamples
	manifest := shardsManifest{Format: shardsFormat, Teacher: hex.EncodeToString(key[:]), Precision: t.precision, MaxLength: maxLength, Examples: set.Len()}
	task := progress.Begin(t.progress, "teacher", 0, set.Len())
	m.complete = true
	for i := range n {
		l, err := layoutOf(key, set, i, t.outputs)
		if err != nil {
			return err
		}
		manifest.Outputs, manifest.Shards = l.Outputs, append(manifest.Shards, hex.EncodeToString(l.key[:]))
		there, err := openShard(shardPath(m.dir, i), l.header())
		switch {
		case err == nil:
			there.close()
		case !errors.Is(err, errNoShard):
			return err
		case i%max(1, m.share.Of) != m.share.Index:
			m.complete = false
		case isShard(shardPath(m.dir, i)):
			return otherShards(m.dir)
		default:
			err = l.write(shardPath(m.dir, i), func(s *shard) error { return t.fill(m.ctx, s, i*shardExamples, task) })
			if err != nil {
				return fmt.Errorf("%s: %w", shardPath(m.dir, i), err)
			}
		}
		task.Set(min((i+1)*shardExamples, set.Len()), "")
	}
	task.Finish("")
	if there, err := readShards(m.dir); err == nil && !reflect.DeepEqual(there, &manifest) {
		return otherShards(m.dir)
	}
	if !m.complete {
		return errMade
	}
	return cmp.Or(writeShards(m.dir, &manifest), errMade)
}

// isShard tells whether a file is a complete shard of any teacher and text.
func isShard(path string) bool {
	s, err := openShard(path, nil)
	if err != nil {
		return false
	}
	s.close()
	return true
}

func otherShards(dir string) error {
	return &checkpoints.ExistsError{Path: dir, What: "it has shards of another teacher, text, loss or version of skive; expected an empty directory, or the same"}
}

// fillTokens is how many tokens of a shard are computed together. The teacher's outputs do not
// depend on it.
const fillTokens = 4096

// fill computes the outputs of a shard. first is the number of its first example in the set.
func (t *teacher) fill(ctx context.Context, s *shard, first int, task progress.Task) error {
	for done := 0; done < s.Examples; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var some []int32
		for tokens := 0; done+len(some) < s.Examples && (len(some) == 0 || tokens+t.set.Length(first+done+len(some)) <= fillTokens); {
			i := first + done + len(some)
			tokens += t.set.Length(i)
			some = append(some, int32(i))
		}
		t.set.Fill(&t.batch, some)
		if err := t.compute(&t.batch, nil); err != nil {
			return err
		}
		for k, o := range t.outputs {
			at := 0
			for j, example := range some {
				n := o.size(t.set, int(example))
				if err := s.put(k, done+j, o.coded[at:][:n]); err != nil {
					return err
				}
				at += n
			}
		}
		done += len(some)
		task.Set(first+done, "")
	}
	return nil
}
