package api

import (
	"context"

	"drydock/model"
)

// fakeEvents are the functions of a [fakeStore] that are about events and subscriptions.
type fakeEvents struct {
	followEvents       func(namespace, after string) (model.EventReader, error)
	putSubscription    func(sub *model.Subscription) (*model.Subscription, bool, error)
	subscription       func(namespace, name string) (*model.Subscription, error)
	subscriptions      func(namespace string) ([]*model.Subscription, error)
	deleteSubscription func(namespace, name string) error
	deadLetters        func(namespace, name string, limit int, after string) (model.Page[model.DeadLetter], error)
	retryDeadLetters   func(namespace, name string) (int64, error)
}

func (f *fakeStore) FollowEvents(_ context.Context, namespace, after string) (model.EventReader, error) {
	if err := f.ready("FollowEvents", f.followEvents != nil); err != nil {
		return nil, err
	}
	return f.followEvents(namespace, after)
}

func (f *fakeStore) PutSubscription(_ context.Context, sub *model.Subscription) (*model.Subscription, bool, error) {
	if err := f.ready("PutSubscription", f.putSubscription != nil); err != nil {
		return nil, false, err
	}
	return f.putSubscription(sub)
}

func (f *fakeStore) Subscription(_ context.Context, namespace, name string) (*model.Subscription, error) {
	if err := f.ready("Subscription", f.subscription != nil); err != nil {
		return nil, err
	}
	return f.subscription(namespace, name)
}

func (f *fakeStore) Subscriptions(_ context.Context, namespace string) ([]*model.Subscription, error) {
	if err := f.ready("Subscriptions", f.subscriptions != nil); err != nil {
		return nil, err
	}
	return f.subscriptions(namespace)
}

func (f *fakeStore) DeleteSubscription(_ context.Context, namespace, name string) error {
	if err := f.ready("DeleteSubscription", f.deleteSubscription != nil); err != nil {
		return err
	}
	return f.deleteSubscription(namespace, name)
}

func (f *fakeStore) DeadLetters(_ context.Context, namespace, name string, limit int, after string) (model.Page[model.DeadLetter], error) {
	if err := f.ready("DeadLetters", f.deadLetters != nil); err != nil {
		return model.Page[model.DeadLetter]{}, err
	}
	return f.deadLetters(namespace, name, limit, after)
}

func (f *fakeStore) RetryDeadLetters(_ context.Context, namespace, name string) (int64, error) {
	if err := f.ready("RetryDeadLetters", f.retryDeadLetters != nil); err != nil {
		return 0, err
	}
	return f.retryDeadLetters(namespace, name)
}
