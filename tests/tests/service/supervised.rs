//! The layer that has another instance made: when, how often, and what callers see meanwhile.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keyway::service::{Factory, Supervised};
use keyway_plugin_api::{Capabilities, Error, ErrorKind, ReadRequest, Result, Secret, SecretManager, abi};
use tokio::sync::Semaphore;

use crate::support::{pass, request, seconds, settle};

/// What becomes of all instances.
#[derive(Default)]
struct World {
    made: AtomicUsize,
    ended: AtomicUsize,
    failures: Mutex<VecDeque<ErrorKind>>,
    /// Whether every instance says that it is lost.
    loses: AtomicBool,
}

struct Instance {
    number: usize,
    world: Arc<World>,
    lost: AtomicBool,
    /// A read of `slow` takes one.
    turns: Semaphore,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.world.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl SecretManager for Instance {
    async fn async_read_secret(&self, request: &ReadRequest) -> Result<Secret> {
        if request.name.as_str() == "slow" {
            self.turns.acquire().await.unwrap().forget();
        } else if self.lost.load(Ordering::SeqCst) || self.world.loses.load(Ordering::SeqCst) {
            return Err(Error::internal("the plugin panicked").with_vendor_code(abi::INSTANCE_LOST));
        }
        Ok(Secret::from(self.number.to_string().as_str()))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::READ_WRITE
    }
}

struct Maker(Arc<World>);

#[async_trait]
impl Factory for Maker {
    type Instance = Instance;
    type Error = Error;

    async fn make(&self) -> Result<Arc<Instance>> {
        tokio::task::yield_now().await;
        if let Some(kind) = self.0.failures.lock().unwrap().pop_front() {
            return Err(Error::new(kind, "the vault is away"));
        }
        Ok(instance(&self.0))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::READ
    }
}

fn instance(world: &Arc<World>) -> Arc<Instance> {
    let number = world.made.fetch_add(1, Ordering::SeqCst) + 1;
    let (lost, turns) = (AtomicBool::new(false), Semaphore::new(0));
    Arc::new(Instance { number, world: Arc::clone(world), lost, turns })
}

fn supervised() -> (Arc<World>, Arc<Supervised<Maker>>) {
    let world = Arc::new(World::default());
    let first = instance(&world);
    let supervised = Supervised::new("vault", Maker(Arc::clone(&world)), first);
    (world, Arc::new(supervised))
}

fn without(failures: &[ErrorKind]) -> (Arc<World>, Supervised<Maker>) {
    let world = Arc::new(World::default());
    world.failures.lock().unwrap().extend(failures);
    let failure = Error::unavailable("the vault is away");
    let supervised = Supervised::without("vault", Maker(Arc::clone(&world)), &failure);
    (world, supervised)
}

async fn read(manager: &dyn SecretManager, name: &str) -> Result<String> {
    let secret = manager.async_read_secret(&request(name)).await?;
    Ok(secret.expose_str().unwrap().to_owned())
}

fn made(world: &World) -> usize {
    world.made.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_lost_instance_is_replaced_at_once_and_once_for_all_who_met_it() {
    let (world, manager) = supervised();
    assert_eq!(read(&*manager, "a").await.unwrap(), "1");
    manager.current().unwrap().lost.store(true, Ordering::SeqCst);
    let all = futures_util::future::join_all((0..100).map(|_| read(&*manager, "a"))).await;
    assert!(all.iter().all(|answer| answer.as_ref().unwrap_err().kind() == ErrorKind::Internal));
    settle().await;
    assert_eq!(read(&*manager, "a").await.unwrap(), "2");
    assert_eq!((made(&world), world.ended.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_in_a_lost_instance_finishes_before_that_one_ends() {
    let (world, manager) = supervised();
    let first = Arc::downgrade(&manager.current().unwrap());
    let slow = tokio::spawn({
        let manager = Arc::clone(&manager);
        async move { read(&*manager, "slow").await }
    });
    settle().await;
    first.upgrade().unwrap().lost.store(true, Ordering::SeqCst);
    read(&*manager, "a").await.unwrap_err();
    settle().await;
    assert_eq!(read(&*manager, "a").await.unwrap(), "2");
    assert_eq!(world.ended.load(Ordering::SeqCst), 0);
    first.upgrade().unwrap().turns.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap(), "1");
    assert_eq!(world.ended.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_is_always_lost_gets_an_instance_a_minute_and_goes_on_answering() {
    let (world, manager) = supervised();
    world.loses.store(true, Ordering::SeqCst);
    for _ in 0..3600 {
        assert_eq!(read(&*manager, "a").await.unwrap_err().kind(), ErrorKind::Internal);
        settle().await;
        pass(seconds(1)).await;
    }
    // Pauses of 1, 2, 4, 8, 16, 32 seconds and then of a minute, up to a quarter less each.
    assert!((60..90).contains(&made(&world)), "{} instances in an hour", made(&world));
    assert_eq!(world.ended.load(Ordering::SeqCst), made(&world) - 1);
    world.loses.store(false, Ordering::SeqCst);
    assert_eq!(read(&*manager, "a").await.unwrap(), made(&world).to_string());
}

#[tokio::test(start_paused = true)]
async fn without_an_instance_the_manager_is_unavailable_until_one_could_be_made() {
    let (world, manager) = without(&[ErrorKind::Unavailable, ErrorKind::Internal]);
    assert_eq!(manager.capabilities(), Capabilities::READ);
    for _ in 0..3 {
        let error = read(&manager, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("vault is not running") && text.contains("the vault is away"), "{text}");
        assert_eq!(manager.health_check().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(made(&world), 0);
        settle().await;
        pass(seconds(4)).await;
        settle().await;
    }
    assert_eq!(read(&manager, "a").await.unwrap(), "1");
    assert_eq!(manager.capabilities(), Capabilities::READ_WRITE);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_met_no_instance_is_known_not_to_be_applied() {
    use keyway::service::breaker::{Breaker, BreakerState};
    let (_world, manager) = without(&[ErrorKind::Unavailable; 9]);
    // A breaker counts what reached a manager, and nothing else.
    let breaker = Breaker::new("vault", Arc::new(manager), 1, seconds(5));
    for _ in 0..3 {
        read(&breaker, "a").await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_after_the_end() {
    let (world, manager) = without(&[]);
    manager.shutdown().await;
    pass(Duration::from_secs(600)).await;
    settle().await;
    assert_eq!(made(&world), 0);

    let (world, manager) = supervised();
    manager.current().unwrap().lost.store(true, Ordering::SeqCst);
    manager.shutdown().await;
    read(&*manager, "a").await.unwrap_err();
    settle().await;
    assert_eq!(made(&world), 1);

    let (world, manager) = without(&[]);
    drop(manager);
    pass(Duration::from_secs(600)).await;
    settle().await;
    assert_eq!(made(&world), 0);
}
