package engine

import "syscall"

// childAttributes has the server die with the test.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
