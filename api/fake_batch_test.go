package api

import (
	"context"

	"drydock/model"
)

// fakeBatch are the functions of a [fakeStore] that do several things at once.
type fakeBatch struct {
	sendAll    func(cmds []model.Command) ([]model.SendResult, error)
	plan       func(namespace string, idem model.Idempotency, plan []byte) ([]byte, *model.Answer, error)
	leasesByID func(namespace string, ids []string) ([]*model.Lease, error)
}

func (f *fakeStore) SendAll(_ context.Context, cmds []model.Command) ([]model.SendResult, error) {
	if err := f.ready("SendAll", f.sendAll != nil); err != nil {
		return nil, err
	}
	return f.sendAll(cmds)
}

func (f *fakeStore) Plan(_ context.Context, namespace string, idem model.Idempotency, plan []byte) ([]byte, *model.Answer, error) {
	if err := f.ready("Plan", f.plan != nil); err != nil {
		return nil, nil, err
	}
	return f.plan(namespace, idem, plan)
}

func (f *fakeStore) LeasesByID(_ context.Context, namespace string, ids []string) ([]*model.Lease, error) {
	if err := f.ready("LeasesByID", f.leasesByID != nil); err != nil {
		return nil, err
	}
	return f.leasesByID(namespace, ids)
}
