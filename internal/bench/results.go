package main

import "math"

// results are all samples, in the order in which they were taken.
type results []sample

// values returns a metric of a row, of every round in which it was measured.
func (r results) values(suite, group, name, metric string) []float64 {
	var all []float64
	for _, s := range r {
		if x, ok := s.Metrics[metric]; ok && s.Suite == suite && s.Group == group && s.Name == name && !math.IsNaN(x) {
			all = append(all, x)
		}
	}
	return all
}

// ratios returns the metric of a divided by the metric of b, for every round in which both were
// measured.
func (r results) ratios(suite, group, a, b, metric string) []float64 {
	return r.ratiosAcross(suite, group, a, metric, group, b, metric)
}

// ratiosAcross is ratios between two groups or two metrics.
func (r results) ratiosAcross(suite, groupA, a, metricA, groupB, b, metricB string) []float64 {
	below := map[int]float64{}
	for _, s := range r {
		if x, ok := s.Metrics[metricB]; ok && s.Suite == suite && s.Group == groupB && s.Name == b && x != 0 {
			below[s.Round] = x
		}
	}
	var all []float64
	for _, s := range r {
		x, ok := s.Metrics[metricA]
		y, both := below[s.Round]
		if ok && both && s.Suite == suite && s.Group == groupA && s.Name == a {
			all = append(all, x/y)
		}
	}
	return all
}
