// Package deploy holds what runs the programs elsewhere: systemd units, a
// container image, a compose file with Grafana, sample configs. Its tests hold
// them to what systemd and compose take.
package deploy
