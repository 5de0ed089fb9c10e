// Package archtest tests the shape of the code base: who may import whom, that every package says what it is, that texts are clean,
// and that the files for containers keep what the design needs of them. It holds tests only.
package archtest
