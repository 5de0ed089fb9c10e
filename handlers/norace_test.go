//go:build !race

package handlers

const raceSlowdown = 1
