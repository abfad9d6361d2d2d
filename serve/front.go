package serve

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Front describes a way other than ServeHTTP by which requests reach a server, such as
// gRPC (package serve/grpcserver). The server's keys, bounds, metrics and log apply to
// its requests, too. A front calls Enter before it reads a request.
type Front struct {
	// Protocol is what the metrics and the log call it.
	Protocol string
	// Method is what is asked for, in the log.
	Method string
	// Code is what the protocol calls an error, nil for an answer, in the metrics and the log.
	Code func(err *Error) string
}

// Error tells why a request is not answered.
type Error struct {
	// Status is that of HTTP, Kind TEI's error_type.
	Status int
	Kind   string
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Enter checks key and load before a front reads a request. authorization is what HTTP
// sends in the header Authorization. If the request may go on, the caller calls leave
// when it has ended. A call of ServeHTTP with the returned context is a part of this
// request and does not count as another. The error is an *Error.
func (s *Server) Enter(ctx context.Context, f *Front, authorization string) (entered context.Context, leave func(), err error) {
	if !s.authorized(authorization) {
		e := &Error{http.StatusUnauthorized, validation, "expected a key: Authorization: Bearer KEY"}
		s.log.LogAttrs(ctx, slog.LevelWarn, "request without a key", slog.String("method", f.Method), slog.String("status", f.Code(e)))
		return ctx, nil, e
	}
	if failed := s.enter(); failed != nil {
		s.bodies.Add(-1)
		return ctx, nil, s.front(ctx, f, "").ended(f, failed)
	}
	return context.WithValue(ctx, enteredKey{}, true), func() { s.bodies.Add(-1) }, nil
}

// InferRequest is a request of the Open Inference Protocol.
type InferRequest struct {
	// Model and Version say what is asked; "" stands for the version that is served.
	Model, Version string
	// Inputs are tensors of texts or tokens. Raw, if there is any, has the elements of each in
	// the protocol's binary form, in place of their lists.
	Inputs []Tensor
	Raw    [][]byte
	// Outputs are those that are wanted; none stands for all.
	Outputs []Wanted
	// Timeout bounds the time of the request, as Options.Timeout does; 0 stands for no other bound.
	Timeout time.Duration
}

// Wanted is an output that a request asks for.
type Wanted struct {
	Name string
	// Classification asks for the best classes instead of the tensor, which the server
	// refuses.
	Classification bool
}

// InferAnswer is the answer to an InferRequest: the outputs in the order of
// InferRequest.Outputs, and the version of the model that computed them.
type InferAnswer struct {
	Version string
	Outputs []Tensor
}

// Infer answers a request of the Open Inference Protocol that a Front has read. Its
// errors are of type *Error.
func (s *Server) Infer(ctx context.Context, f *Front, q *InferRequest) (*InferAnswer, error) {
	var a InferAnswer
	err := s.through(ctx, f, q.Model, func(x *exchange) error {
		if err := x.pickVersion(q.Version); err != nil {
			return err
		}
		outputs, err := x.infer(q)
		a = InferAnswer{x.version.number, outputs}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// through handles a request that came through a front and names a model, or "". Its errors
// are *Error.
func (s *Server) through(ctx context.Context, f *Front, model string, handle func(x *exchange) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.options.Timeout))
	defer cancel()
	ctx, span := s.startSpan(ctx, f.Method)
	x := s.front(ctx, f, model)
	x.span = span
	return x.ended(f, x.answer(handle))
}

func (s *Server) front(ctx context.Context, f *Front, model string) *exchange {
	return &exchange{server: s, ctx: ctx, began: time.Now(), named: model, told: []slog.Attr{slog.String("method", f.Method)}}
}

// ended ends an exchange that came through a front. Its errors are *Error.
func (x *exchange) ended(f *Front, failed *problem) error {
	if failed == nil {
		x.end(f.Protocol, slog.StringValue(f.Code(nil)), nil)
		return nil
	}
	err := &Error{failed.status, failed.kind, failed.text}
	x.end(f.Protocol, slog.StringValue(f.Code(err)), failed)
	return err
}

// Options returns the options in effect, with defaults filled in.
func (s *Server) Options() Options { return s.options }
