//! The synchronisation that the loader is built on, in one place, so that a model checker can take it over.
//!
//! With `--cfg shuttle` every lock, atomic, channel and thread of the loader is shuttle's, which runs the real code in
//! thousands of interleavings: see `tests/interleavings.rs`.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use crossbeam_channel as channel;
    #[cfg(feature = "cuda")]
    pub(crate) use std::sync::Condvar;
    pub(crate) use std::sync::{Mutex, RwLock, atomic};
    pub(crate) use std::thread;
}

#[cfg(shuttle)]
mod real {
    #[cfg(feature = "cuda")]
    pub(crate) use shuttle::sync::Condvar;
    pub(crate) use shuttle::sync::{Mutex, RwLock, atomic};
    pub(crate) use shuttle::thread;

    /// As much of crossbeam's bounded channel as the loader uses, on shuttle's locks. Time stands still in a model: a
    /// time-out of zero is over at once, and any other never. A wait that never ends is reported as a deadlock.
    pub(crate) mod channel {
        pub(crate) use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError};
        use shuttle::sync::{Condvar, Mutex, MutexGuard};
        use std::collections::VecDeque;
        use std::sync::{Arc, PoisonError};
        use std::time::Duration;

        struct Inner<T> {
            state: Mutex<State<T>>,
            changed: Condvar,
            capacity: usize,
        }

        struct State<T> {
            queue: VecDeque<T>,
            senders: usize,
            receivers: usize,
        }

        pub(crate) struct Sender<T>(Arc<Inner<T>>);
        pub(crate) struct Receiver<T>(Arc<Inner<T>>);

        impl<T> Inner<T> {
            /// Also while a model fails, as a second panic would hide the first.
            fn lock(&self) -> MutexGuard<'_, State<T>> {
                self.state.lock().unwrap_or_else(PoisonError::into_inner)
            }
        }

        pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
            assert!(capacity > 0, "a rendezvous is not modelled");
            let state = State {
                queue: VecDeque::new(),
                senders: 1,
                receivers: 1,
            };
            let inner = Arc::new(Inner {
                state: Mutex::new(state),
                changed: Condvar::new(),
                capacity,
            });
            (Sender(Arc::clone(&inner)), Receiver(inner))
        }

        impl<T> Sender<T> {
            pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
                let mut state = self.0.lock();
                loop {
                    if state.receivers == 0 {
                        return Err(SendError(value));
                    }
                    if state.queue.len() < self.0.capacity {
                        state.queue.push_back(value);
                        self.0.changed.notify_all();
                        return Ok(());
                    }
                    state = self.0.changed.wait(state).unwrap();
                }
            }
        }

        impl<T> Receiver<T> {
            pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
                let mut state = self.0.lock();
                match state.queue.pop_front() {
                    Some(value) => {
                        self.0.changed.notify_all();
                        Ok(value)
                    }
                    None if state.senders == 0 => Err(TryRecvError::Disconnected),
                    None => Err(TryRecvError::Empty),
                }
            }

            pub(crate) fn recv(&self) -> Result<T, RecvError> {
                let mut state = self.0.lock();
                loop {
                    if let Some(value) = state.queue.pop_front() {
                        self.0.changed.notify_all();
                        return Ok(value);
                    }
                    if state.senders == 0 {
                        return Err(RecvError);
                    }
                    state = self.0.changed.wait(state).unwrap();
                }
            }

            pub(crate) fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
                if !timeout.is_zero() {
                    return self.recv().map_err(|_| RecvTimeoutError::Disconnected);
                }
                self.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            }
        }

        impl<T> Clone for Sender<T> {
            fn clone(&self) -> Self {
                self.0.lock().senders += 1;
                Self(Arc::clone(&self.0))
            }
        }

        impl<T> Clone for Receiver<T> {
            fn clone(&self) -> Self {
                self.0.lock().receivers += 1;
                Self(Arc::clone(&self.0))
            }
        }

        impl<T> Drop for Sender<T> {
            fn drop(&mut self) {
                self.0.lock().senders -= 1;
                self.0.changed.notify_all();
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                let mut state = self.0.lock();
                state.receivers -= 1;
                // Nobody can take any more what is left.
                let left = if state.receivers == 0 {
                    std::mem::take(&mut state.queue)
                } else {
                    VecDeque::new()
                };
                self.0.changed.notify_all();
                drop(state);
                drop(left);
            }
        }

        impl<T> std::fmt::Debug for Sender<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("Sender")
            }
        }
    }
}

pub(crate) use real::*;
