//go:build race

package handlers

// raceSlowdown is by how much the random tests do less under the race detector, which makes them about so much slower.
const raceSlowdown = 10
