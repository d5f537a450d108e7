// Package whole tests the hub and the agent together, as programs of their
// own: what an operator sees when everything is in place, and when it is not.
package whole
