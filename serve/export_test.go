package serve

// NewServer is newServer, for tests of what stands on this package.
var NewServer = newServer
