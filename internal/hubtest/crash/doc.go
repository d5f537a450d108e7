// Package crash kills the hub and cuts the power of its disk while clients of
// all three transports publish at full speed, and holds the hub to its promise:
// whatever was acknowledged is there afterwards, exactly once.
package crash
