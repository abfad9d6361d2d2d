package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/skive-ml/skive/settings"
)

// Listening says where Run takes requests. The zero value of each field means its
// default.
type Listening struct {
	// Addresses are HOST:PORT, or unix:PATH for a socket. A socket that an earlier server
	// left there is replaced. None means 127.0.0.1:8080.
	Addresses List
	// GRPC, if not nil, takes requests at GRPCAddresses, which are as Addresses are.
	// Package serve/grpcserver makes one.
	GRPC          GRPC
	GRPCAddresses List
	// TLSCert and TLSKey are files in PEM format. Without them there is no TLS, and a
	// proxy or a mesh has to provide it. Sockets never have TLS.
	TLSCert, TLSKey string
	// Grace is the time that requests under way have to end once Run is told to stop; 0
	// means 30 s.
	Grace Duration
	// Reload lists the signals at which Run calls Server.Reload, such as syscall.SIGHUP.
	Reload []os.Signal
	// Started, if not nil, is called before the models are loaded, with the addresses of
	// HTTP and then those of gRPC.
	Started func([]net.Addr)
}

// GRPC is a server of gRPC, as *grpc.Server is.
type GRPC interface {
	Serve(net.Listener) error
	GracefulStop()
	Stop()
}

// DefaultListening returns the defaults of Listening.
func DefaultListening() Listening {
	var l Listening
	l.fill()
	return l
}

func (l *Listening) fill() {
	if len(l.Addresses) == 0 {
		l.Addresses = List{"127.0.0.1:8080"}
	}
	orElse(&l.Grace, Duration(30*time.Second))
}

// Settings returns the fields as a table of settings.
func (l *Listening) Settings() settings.Table {
	return settings.Table{
		{Name: "listen", Field: "Addresses", Value: &l.Addresses,
			Doc: "`ADDRESSES`, with commas between them: HOST:PORT, or unix:PATH for a socket"},
		{Name: "grpc-listen", Field: "GRPCAddresses", Value: &l.GRPCAddresses,
			Doc:  "`ADDRESSES` for gRPC, in the same form (default none)",
			Want: settings.Unless(len(l.GRPCAddresses) == 0 || l.GRPC != nil, "none without a server of gRPC")},
		{Name: "tls-cert", Field: "TLSCert", Value: &l.TLSCert, Doc: "`FILE` of the certificate, with its chain, in PEM format",
			Want: settings.Unless((l.TLSCert == "") == (l.TLSKey == ""), "a certificate and a key, or neither")},
		{Name: "tls-key", Field: "TLSKey", Value: &l.TLSKey, Doc: "`FILE` of the certificate's key in PEM format"},
		{Name: "grace", Field: "Grace", Value: &l.Grace, Doc: "`TIME` for requests in progress to end when the server is told to stop",
			Want: settings.Unless(l.Grace >= 0, "a positive time")},
	}
}

// Run listens, loads the models, and answers until ctx ends. Then it takes no new
// requests, answers those under way, and closes the server. While the models are loaded,
// probes find the server alive but not ready. An option that is not usable is a
// *settings.Error.
func (s *Server) Run(ctx context.Context, l Listening) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := l.Settings().Check(); err != nil {
		return err
	}
	l.fill()
	if len(l.Reload) > 0 {
		defer s.reloadAt(l.Reload)()
	}
	listeners, err := l.listen()
	if err != nil {
		return err
	}
	for _, m := range s.models {
		// A wrong path ends the server before probes find it alive.
		if _, err := os.Stat(m.options.Path); err != nil {
			for _, listener := range listeners {
				listener.Close()
			}
			return fmt.Errorf("model %q: %w", m.options.Name, err)
		}
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Duration(s.options.Timeout) + 10*time.Second,
		WriteTimeout:      2*time.Duration(s.options.Timeout) + 20*time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners))
	var addresses []net.Addr
	for i, listener := range listeners {
		address, protocol, serve := listener.Addr(), "http", server.Serve
		if i >= len(l.Addresses) {
			protocol, serve = "grpc", l.GRPC.Serve
		}
		s.log.Info("listening", "address", address.Network()+":"+address.String(), "protocol", protocol, "tls", l.TLSCert != "" && address.Network() != "unix")
		addresses = append(addresses, address)
		go func() { failed <- serve(listener) }()
	}
	if l.Started != nil {
		l.Started(addresses)
	}
	loaded := make(chan error, 1)
	go func() { loaded <- s.Load(ctx) }()
	for {
		select {
		case err = <-loaded:
			loaded = nil
			if err == nil {
				s.log.Info("ready", "models", s.names())
				continue
			}
		case err = <-failed:
		case <-ctx.Done():
		}
		break
	}
	s.Drain()
	s.log.Info("stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(l.Grace))
	defer cancel()
	ended := make(chan bool, 1)
	go func() { ended <- stopGRPC(grace, l.GRPC) }()
	stopped := server.Shutdown(grace) == nil
	if !stopped {
		server.Close()
	}
	if answered := <-ended; !stopped || !answered {
		if err == nil || errors.Is(err, context.Canceled) {
			err = fmt.Errorf("requests were under way %s after the server was told to stop, and were cut off", l.Grace)
		}
	}
	if loaded != nil {
		<-loaded // what was loaded is closed
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// stopGRPC waits for requests until the context ends, and then cuts them off. It
// tells whether all were answered.
func stopGRPC(ctx context.Context, server GRPC) bool {
	if server == nil {
		return true
	}
	answered := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(answered)
	}()
	select {
	case <-answered:
		return true
	case <-ctx.Done():
		server.Stop()
		<-answered
		return false
	}
}

// listen opens every address, or none: those of HTTP, then those of gRPC.
func (l *Listening) listen() (opened []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, o := range opened {
				o.Close()
			}
		}
	}()
	var config *tls.Config
	if l.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(l.TLSCert, l.TLSKey)
		if err != nil {
			return nil, settings.Errorf("TLSCert", "%w", err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	}
	for _, of := range []struct {
		field     string
		addresses List
	}{{"Addresses", l.Addresses}, {"GRPCAddresses", l.GRPCAddresses}} {
		for _, address := range of.addresses {
			listener, err := listenAt(address)
			if err != nil {
				return opened, settings.Errorf(of.field, "%w", err)
			}
			if config != nil && listener.Addr().Network() != "unix" {
				listener = tls.NewListener(listener, config)
			}
			opened = append(opened, listener)
		}
	}
	return opened, nil
}

func listenAt(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: another server listens there", path)
		}
		os.Remove(path) // left by one that has ended; Listen says it if this fails
	}
	return net.Listen("unix", path)
}
