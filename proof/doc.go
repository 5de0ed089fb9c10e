// Package proof holds a model of the protocol (protocol.pml), and the test that has spin check it: that it holds, and that it fails when
// any one thing that the protocol does is taken away.
package proof
