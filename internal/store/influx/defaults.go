package influx

// SetDefaults implements strict.Defaulter.
func (c *Config) SetDefaults() { *c = DefaultConfig() }
