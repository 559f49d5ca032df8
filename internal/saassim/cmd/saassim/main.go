// Command saassim runs a simulated Wiz tenant as a process of its own, for
// test scripts and for trying things out. See saassim.Command for its flags.
package main

import "github.com/trawlsec/trawl/internal/saassim"

func main() { saassim.Main() }
