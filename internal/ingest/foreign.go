package ingest

import "net/url"

// FromAnotherSite reports, by the headers Sec-Fetch-Site, Origin and Host, whether
// a browser sent a request on behalf of a page of another site. Such a request
// may show a secret that the page has, but no certificate: that is the browser's,
// and shown whoever asks.
func FromAnotherSite(site, origin, host string) bool {
	if site != "" {
		return site != "same-origin" && site != "none"
	}
	if origin == "" {
		return false // no browser
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != host
}
