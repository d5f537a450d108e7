package uplink

import "encoding/json"

// Rejects is what the hub says of samples that it took and did not store.
type Rejects struct {
	Total int
	// Listed are the first of them.
	Listed []Reject
}

// Reject is one of them; docs/rejects.md lists the stages and reasons.
type Reject struct {
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// ParseRejects reads the JSON that the hub answers, of a message with as many
// samples; 0 when that is not known. A short answer does not list all.
func ParseRejects(body []byte, samples uint32) (Rejects, error) {
	var answer struct {
		Accepted int      `json:"accepted"`
		Total    int      `json:"rejected_total"`
		Rejected []Reject `json:"rejected"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Rejects{}, err
	}
	total := max(answer.Total, len(answer.Rejected))
	if samples > 0 {
		total = max(total, int(samples)-answer.Accepted)
	}
	return Rejects{total, answer.Rejected}, nil
}
