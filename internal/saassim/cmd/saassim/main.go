// Command saassim runs a simulated tenant of a product as a process of its own,
// for test scripts and for trying things out. See saassim -h.
package main

import "github.com/trawlsec/trawl/internal/saassim/command"

func main() { command.Main() }
