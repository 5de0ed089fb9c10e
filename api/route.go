package api

import (
	"github.com/labstack/echo/v4"

	"drydock/model"
)

// routes registers every route. openapi.json describes the same ones; a test compares the two.
func (s *Server) routes() {
	e := s.echo
	e.GET("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	e.GET("/metrics", echo.WrapHandler(s.metrics.handler(s.cfg.Log)))
	e.GET("/openapi.json", s.openapi)
	if s.cfg.Asynqmon != nil {
		h := echo.WrapHandler(s.cfg.Asynqmon)
		e.Any(s.cfg.AsynqmonRoot, h)
		e.Any(s.cfg.AsynqmonRoot+"/*", h)
	}

	// Without middleware: with some, Echo would answer 404 where a path does not take a method. use installs it for everybody.
	v1 := e.Group("/v1")
	v1.POST("/leases", s.createLease)
	v1.GET("/leases", s.listLeases)
	v1.POST(releasesPath, s.releaseLeases)
	v1.GET("/leases/:id", s.readLease)
	v1.GET("/resources", s.listResources)
	v1.GET("/resources/:id", s.readResource)
	for _, kind := range model.Kinds() {
		path := "/" + string(kind) + "s/:id"
		v1.POST(path+"/release", s.release(kind))
		v1.POST(path+"/commands", s.send(kind))
		v1.GET(path+"/commands", s.listCommands(kind))
		v1.GET(path+"/logs", s.listLog(kind))
		v1.GET(path+"/slots", s.listSlots(kind))
		v1.GET(path+"/data", s.readData(kind))
		v1.PUT(path+"/data", s.putData(kind))
	}
	v1.GET("/blueprints", s.listBlueprints)
	v1.PUT("/blueprints/:name", s.putBlueprint)
	v1.GET("/blueprints/:name", s.readBlueprint)
	v1.DELETE("/blueprints/:name", s.deleteBlueprint)
	v1.GET("/events", s.streamEvents)
	v1.GET("/subscriptions", s.listSubscriptions)
	v1.PUT("/subscriptions/:name", s.putSubscription)
	v1.GET("/subscriptions/:name", s.readSubscription)
	v1.DELETE("/subscriptions/:name", s.deleteSubscription)
	v1.GET("/subscriptions/:name/dead-letters", s.listDeadLetters)
	v1.POST(retryPath, s.retryDeadLetters)
	v1.POST("/blueprints/:name/authorizations", s.decideAuthorization)
	v1.GET("/authorizations", s.listAuthorizations)
}
