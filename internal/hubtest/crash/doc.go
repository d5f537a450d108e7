// Package crash kills the hub and cuts the power of its disk while clients of
// every door, plain and encrypted, publish at full speed: samples of now, of an
// hour ago and of two months ago, and states. It holds the hub to its promise:
// whatever was acknowledged is there afterwards, and what is sent again is
// there once.
package crash
