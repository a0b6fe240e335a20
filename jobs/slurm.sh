#!/usr/bin/env bash
# What the job scripts share: they source it. Launch, pass USR1 on, wait, read STATUS, go on or end.
#   launch <run directory> <command...>   sets job_status and job_code
#   finish                                requeues this job, or exits with job_code
# NASHFLOW_AT_LIMIT        what follows a checkpoint at the time limit: requeue (the default) or
#                          stop, with exit code 0 (chain.sh: the next part of the chain goes on)
# NASHFLOW_MAX_REQUEUES    a job that was restarted so many times is not requeued any more (100)
set -euo pipefail

resumable=85
at_limit=${NASHFLOW_AT_LIMIT:-requeue}
max_requeues=${NASHFLOW_MAX_REQUEUES:-100}
directory='' # of the run
before=''    # its STATUS before this part
launcher=''  # process
usr1=${usr1:-} # yes: it came before this was read
term='' trapped=''
job_status='' # running (the run was killed), finished, failed or interrupted; empty: it did not begin
job_code=1

say() { printf '%(%F %T)T job %s: %s\n' -1 "${SLURM_JOB_ID:-}" "$*"; }
die() {
  say "error: $*"
  exit 64
}

load_modules() { # <names>
  local code
  [ -n "$1" ] || return 0
  set +eu # the module commands of many sites stumble over both
  type module >/dev/null 2>&1 || . /etc/profile
  # shellcheck disable=SC2086
  module load $1
  code=$?
  set -eu
  [ "$code" -eq 0 ] || die "cannot load the modules '$1' (NASHFLOW_MODULES)"
}

time_left() { # hh:mm:ss to the limit of this job; nothing where it has none
  local left days=0 parts
  left=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%L 2>/dev/null || true)
  if [[ $left == *-* ]]; then
    days=${left%%-*}
    left=${left#*-}
  fi
  [[ $left =~ ^[0-9]+(:[0-9]+){0,2}$ ]] || return 0
  IFS=: read -ra parts <<<"$left"
  while [ ${#parts[@]} -lt 3 ]; do parts=(0 "${parts[@]}"); done
  printf '%02d:%02d:%02d\n' $((10#$days * 24 + 10#${parts[0]})) "$((10#${parts[1]}))" "$((10#${parts[2]}))"
}

status_mark() { stat --format='%i %.9Y' "$directory/STATUS" 2>/dev/null || true; }
has_begun() { [ "$(status_mark)" != "$before" ]; }
status_key() { sed -n "s/^$1=//p" "$directory/STATUS" 2>/dev/null || true; }

# Not before the run has begun: ranks that still start would miss it, or be killed by it.
pass_usr1_on() {
  while kill -0 "$launcher" 2>/dev/null && ! has_begun; do sleep 0.5; done
  kill -USR1 "$launcher" 2>/dev/null || true
}

on_usr1() {
  trapped=yes usr1=yes
  say "USR1: the run shall write a checkpoint and stop"
  [ -z "$launcher" ] || pass_usr1_on &
}

# Slurm sends TERM to the ranks as well. It comes with scancel: whoever cancels wants no restart.
on_term() {
  trapped=yes term=yes
  say "TERM: cancelled, or beyond the time limit"
}

read_outcome() { # <exit code of the launcher>
  job_code=$1
  has_begun || return 0
  job_status=$(status_key status)
  case $job_status in # launchers can lose exit codes: STATUS is the truth
    finished | failed | interrupted) job_code=$(status_key exit_code) ;;
    *) [ "$job_code" -ne 0 ] || job_code=1 ;;
  esac
}

launch() {
  local code
  directory=$1
  shift
  before=$(status_mark)
  say "part $((${SLURM_RESTART_COUNT:-0} + 1)) on ${SLURM_JOB_NODELIST:-?}: $*"
  "$@" </dev/null &
  launcher=$!
  [ -z "$usr1" ] || pass_usr1_on & # it came before there was a launcher
  while :; do
    trapped='' code=0
    wait "$launcher" || code=$?
    [ -n "$trapped" ] || break # else a signal ended the wait, not the launcher
  done
  read_outcome "$code"
  say "the run ended: status ${job_status:-none}, exit code $job_code"
}

go_on() {
  local count=${SLURM_RESTART_COUNT:-0}
  if [ "$at_limit" = stop ]; then
    say "stopped with a checkpoint; the next part goes on from it"
    exit 0
  fi
  if [ "$count" -ge "$max_requeues" ]; then
    say "not requeued: it was restarted $count times (NASHFLOW_MAX_REQUEUES); submit it again to go on"
    return
  fi
  say "requeue, restart $((count + 1))"
  scontrol requeue "$SLURM_JOB_ID" || say "Slurm refuses to requeue; submit the job again to go on"
}

for_time() { # the run was stopped because its time was over
  [ -n "$usr1" ] || [[ $(status_key cause) == *--max-walltime* ]]
}

finish() {
  if [ "$job_code" = "$resumable" ] && for_time && [ -z "$term" ]; then go_on; fi
  exit "${job_code:-1}"
}

trap on_usr1 USR1 # from here on: loading modules can take its time
trap on_term TERM
