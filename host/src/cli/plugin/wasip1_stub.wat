;; Answers WASI preview 1 inside the component, so that a guest built for
;; wasm32-wasip1 imports nothing from the host but the policy contract.
;; The clock counts calls, random numbers are the same in every instance, what
;; is written to stdout and stderr is dropped, there are no files, arguments,
;; variables or sockets. Error numbers: 8 = bad descriptor, 52 = not supported.
(module
  (import "env" "memory" (memory 0))
  (global $now (mut i64) (i64.const 0))
  (global $seed (mut i64) (i64.const 0x2545F4914F6CDD1D))

  ;; Time moves by a microsecond with each look, so that a guest that waits for
  ;; the clock comes to an end.
  (func (export "clock_time_get") (param $id i32) (param $precision i64) (param $out i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get $out) (global.get $now))
    (i32.const 0))
  (func (export "clock_res_get") (param $id i32) (param $out i32) (result i32)
    (i64.store (local.get $out) (i64.const 1000))
    (i32.const 0))

  ;; xorshift64*, one byte per step.
  (func (export "random_get") (param $at i32) (param $count i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $count)))
    (block $filled
      (loop $next
        (br_if $filled (i32.ge_u (local.get $at) (local.get $end)))
        (global.set $seed (i64.xor (global.get $seed) (i64.shr_u (global.get $seed) (i64.const 12))))
        (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 25))))
        (global.set $seed (i64.xor (global.get $seed) (i64.shr_u (global.get $seed) (i64.const 27))))
        (i64.store8 (local.get $at)
          (i64.shr_u (i64.mul (global.get $seed) (i64.const 0x2545F4914F6CDD1D)) (i64.const 56)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; Claims that every byte was written: a guest that prints must not fail for it.
  (func (export "fd_write") (param $fd i32) (param $vec i32) (param $count i32) (param $out i32) (result i32)
    (local $total i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (block $counted
      (loop $next
        (br_if $counted (i32.eqz (local.get $count)))
        (local.set $total (i32.add (local.get $total) (i32.load offset=4 (local.get $vec))))
        (local.set $vec (i32.add (local.get $vec) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $out) (local.get $total))
    (i32.const 0))

  (func $none (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (func $done (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $done))
  (export "environ_get" (func $done))
  (export "fd_fdstat_set_flags" (func $done))
  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable)

  ;; Descriptors: none is open. Libraries stop looking for directories at 8.
  (func $fd (param i32) (result i32) (i32.const 8))
  (export "fd_close" (func $fd))
  (export "fd_datasync" (func $fd))
  (export "fd_sync" (func $fd))
  (func $fd_i (param i32 i32) (result i32) (i32.const 8))
  (export "fd_fdstat_get" (func $fd_i))
  (export "fd_filestat_get" (func $fd_i))
  (export "fd_prestat_get" (func $fd_i))
  (export "fd_renumber" (func $fd_i))
  (export "fd_tell" (func $fd_i))
  (export "sock_shutdown" (func $fd_i))
  (func $fd_ii (param i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_prestat_dir_name" (func $fd_ii))
  (export "path_create_directory" (func $fd_ii))
  (export "path_remove_directory" (func $fd_ii))
  (export "path_unlink_file" (func $fd_ii))
  (export "sock_accept" (func $fd_ii))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func $fd_ll (param i32 i64 i64) (result i32) (i32.const 8))
  (export "fd_allocate" (func $fd_ll))
  (export "fd_fdstat_set_rights" (func $fd_ll))
  (func $fd_lli (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (export "fd_advise" (func $fd_lli))
  (export "fd_filestat_set_times" (func $fd_lli))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func $fd_iili (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (export "fd_pread" (func $fd_iili))
  (export "fd_pwrite" (func $fd_iili))
  (export "fd_readdir" (func $fd_iili))
  (func $five (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_filestat_get" (func $five))
  (export "path_symlink" (func $five))
  (export "sock_send" (func $five))
  (func $six (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_readlink" (func $six))
  (export "path_rename" (func $six))
  (export "sock_recv" (func $six))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))

  (func (export "poll_oneoff") (param i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "proc_raise") (param i32) (result i32) (i32.const 52)))
