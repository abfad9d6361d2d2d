package serve

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/settings"
)

// certificate writes one for 127.0.0.1, signed by itself.
func certificate(t *testing.T) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

// running starts a server, and returns its addresses and what stops it.
func running(t *testing.T, l Listening) ([]net.Addr, func() error) {
	t.Helper()
	s, err := New(Options{Models: models(t)[:1], Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan []net.Addr, 1)
	l.Started = func(a []net.Addr) { started <- a }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(cancel)
	select {
	case err := <-ended:
		t.Fatal(err)
	case a := <-started:
		return a, func() error { cancel(); return <-ended }
	}
	return nil, nil
}

func waitReady(t *testing.T, client *http.Client, url string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := client.Get(url + "/health")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready: %v", url, err)
		}
	}
}

func TestRunOverTLSAndSockets(t *testing.T) {
	t.Parallel()
	cert, key, pool := certificate(t)
	dir, err := os.MkdirTemp("", "s") // whose path is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close() // a server that was killed leaves its socket
	addresses, stop := running(t, Listening{Addresses: List{"127.0.0.1:0", "unix:" + socket}, TLSCert: cert, TLSKey: key})
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	local := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	for url, client := range map[string]*http.Client{"https://" + addresses[0].String(): secure, "http://socket": local} {
		waitReady(t, client, url)
		r, err := client.Post(url+"/embed", "application/json", strings.NewReader(`{"inputs":"rude"}`))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || !strings.HasPrefix(string(b), "[[") {
			t.Errorf("%s: %d %s, %v", url, r.StatusCode, b, err)
		}
		r.Body.Close()
		client.CloseIdleConnections()
	}
	if _, err := listenAt("unix:" + socket); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a socket in use: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A request that is under way when the server is told to stop is answered.
func TestRunAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	addresses, stop := running(t, Listening{Addresses: List{"127.0.0.1:0"}})
	url := "http://" + addresses[0].String()
	waitReady(t, http.DefaultClient, url)
	c, err := net.Dial("tcp", addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const body = `{"inputs":"rude"}`
	fmt.Fprintf(c, "POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	answer := bufio.NewReader(c)
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // the server waits for the body
		t.Fatalf("%q, %v", line, err)
	}
	answer.ReadString('\n')
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	io.WriteString(c, body)
	r, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || !strings.HasPrefix(string(b), "[[") {
		t.Errorf("%d %s, %v", r.StatusCode, b, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestRunErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for field, l := range map[string]Listening{
		"Addresses": {Addresses: List{taken.Addr().String()}},
		"TLSCert":   {TLSCert: "no/such", TLSKey: "no/such"},
	} {
		s, err := New(Options{Models: models(t)[:1]})
		if err != nil {
			t.Fatal(err)
		}
		var wrong *settings.Error
		if err := s.Run(t.Context(), l); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%v, want an error of %s", err, field)
		}
	}
	s, err := New(Options{Models: []Model{{Name: "m", Path: "no/such"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), Listening{Addresses: List{"127.0.0.1:0"}}); err == nil || !strings.Contains(err.Error(), `model "m"`) {
		t.Errorf("a missing model: %v", err)
	}
}
