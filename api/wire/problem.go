package wire

// ProblemContentType is the content type of every error (RFC 9457).
const ProblemContentType = "application/problem+json"

// Problem is the body of every error.
type Problem struct { //nolint:errname // RFC 9457 gives the name
	// Type is a URI for the code; it identifies and need not resolve.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is a sentence for a person.
	Detail string `json:"detail"`
	// Code is the word for a program: one of a small fixed set.
	Code string `json:"code"`
	// Field names the part of the request that broke the rule, as the caller wrote it.
	Field     Text   `json:"field"`
	RequestID string `json:"request_id"`
}

// Error makes a Problem an error for clients.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Detail
}
