package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/tokenize"
)

// problem is why a request is not answered.
type problem struct {
	status int
	kind   string // TEI's error_type
	text   string
}

func (p *problem) Error() string { return p.text }

// The kinds of problems.
const (
	unhealthy  = "Unhealthy"
	backend    = "Backend"
	overloaded = "Overloaded"
	tokenizer  = "Tokenizer"
	validation = "Validation"
	empty      = "Empty"
	timeout    = "Timeout"
)

func invalid(format string, args ...any) error {
	return &problem{http.StatusUnprocessableEntity, validation, "Input validation error: " + fmt.Sprintf(format, args...)}
}

// short is the beginning of what a client sent, as errors quote it: where a name is expected
// there may stand a text, which the log is not to hold.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func emptyInputs(name string) error {
	return &problem{http.StatusBadRequest, empty, fmt.Sprintf("Input validation error: `%s` cannot be empty", name)}
}

// notA says that no model does what is asked for.
func notA(what string) error {
	return &problem{http.StatusFailedDependency, backend, "Backend error: Model is not " + what}
}

func unavailable(text string) error {
	return &problem{http.StatusServiceUnavailable, unhealthy, text}
}

var errOverloaded = &problem{http.StatusTooManyRequests, overloaded, "Model is overloaded"}

// canceled is the status in the log of a request whose client has gone.
const canceled = 499

// problemOf is what an error is to a client.
func problemOf(err error) *problem {
	var p *problem
	var length *infer.LengthError
	var input *infer.InputError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, infer.ErrOverloaded):
		return errOverloaded
	case errors.As(err, &tooLarge):
		return &problem{http.StatusRequestEntityTooLarge, validation, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case errors.As(err, &length):
		return problemOf(invalid("`inputs` must have less than %d tokens. Given: %d", length.Most, length.Tokens))
	case errors.As(err, &input), errors.Is(err, infer.ErrOption):
		return problemOf(invalid("%v", err))
	case errors.Is(err, tokenize.ErrText):
		return &problem{http.StatusUnprocessableEntity, tokenizer, "Tokenization error: " + err.Error()}
	case errors.Is(err, infer.ErrClosed):
		return &problem{http.StatusServiceUnavailable, unhealthy, err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{http.StatusGatewayTimeout, timeout, "the request took longer than it may"}
	case errors.Is(err, context.Canceled):
		return &problem{canceled, timeout, "the client has gone"}
	}
	return &problem{http.StatusFailedDependency, backend, "Backend error: " + err.Error()}
}

// dialect is how a protocol writes problems.
type dialect struct {
	protocol string
	body     func(p *problem) any
	status   func(p *problem) int
}

func ownStatus(p *problem) int { return p.status }

var tei = &dialect{"tei", func(p *problem) any {
	return struct {
		Error string `json:"error"`
		Type  string `json:"error_type"`
	}{p.text, p.kind}
}, ownStatus}

// openAI has OpenAI's form and TEI's of the same routes in one.
var openAI = &dialect{"openai", func(p *problem) any {
	type form struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    any     `json:"code"`
	}
	kind := "invalid_request_error"
	switch {
	case p.status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case p.status >= 500:
		kind = "server_error"
	}
	return struct {
		Error form `json:"error"`
		form
	}{form{p.text, kind, nil, p.kind}, form{p.text, p.kind, nil, p.status}}
}, ownStatus}

// reranking has the forms of Cohere, Jina and TEI in one.
var reranking = &dialect{"rerank", func(p *problem) any {
	return struct {
		Message string `json:"message"`
		Detail  string `json:"detail"`
		Error   string `json:"error"`
		Type    string `json:"error_type"`
	}{p.text, p.text, p.text, p.kind}
}, ownStatus}

// write answers with a problem.
func (d *dialect) write(w http.ResponseWriter, p *problem) {
	if p.status == http.StatusTooManyRequests || p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, d.status(p), d.body(p))
}

func writeJSON(w http.ResponseWriter, status int, document any) {
	b, err := marshal(document)
	if err != nil { // of our own types
		panic(err)
	}
	writeBytes(w, status, b)
}

// marshal leaves <, > and & as they are.
func marshal(document any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(document)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func writeBytes(w http.ResponseWriter, status int, document []byte) {
	// Clients compare the whole of this, so that it names no charset.
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(document)
}
