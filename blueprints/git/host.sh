# Works on one working copy on a leased host; the worker sends it to sh by ssh, with `set --` and the arguments in front.
#
# All of it is one block, which sh reads to its end before it begins, so that half a script does nothing. It ends with 0, or with one of
# the exit codes that host.go knows, or with 1; what it says about that follows the last "drydock: " on standard error.
{
busy=75 stale=76 none=77

step=$1 folder=$2 name=$3 object=$4 fence=$5 limit=$6 url=$7
shift 7
config=$1 protocols=$2 kind=$3 value=$4

copy=$folder/$name
git_dir=$copy/.git
fences=$folder/.$name.fences
target=refs/drydock/target
umask 022

watchers=
end() {
	if [ $# -gt 1 ]; then printf 'drydock: %s\n' "$2" >&2; fi
	flock -u 9 2>/dev/null # also for those who inherited it, such as a credential daemon that git started
	for watcher in $watchers; do kill -KILL "$watcher" 2>/dev/null; done
	if [ -n "$timer" ]; then kill -TERM "$timer" 2>/dev/null; fi
	exit "$1"
}

# The worker keeps our standard input open. When it ends, the worker or the connection is gone, and so is the right to work here.
# sshd has made us the leader of a process group; all of it goes. The other watcher is for a connection that dies without a sign.
stop_all() {
	trap '' TERM
	kill -TERM 0
	sleep 2 # lets git remove its lock files
	kill -KILL 0
}
exec 3<&0 </dev/null
(
	trap '' TERM
	IFS= read -r _ <&3
	stop_all
) >/dev/null 2>&1 &
watchers=$!
(
	sleeper=
	trap 'if [ -n "$sleeper" ]; then kill "$sleeper"; fi; exit' TERM
	sleep "$limit" &
	sleeper=$!
	wait "$sleeper"
	stop_all
) >/dev/null 2>&1 3<&- &
timer=$!
exec 3<&-

# is_folder: a folder, and not a link to one.
is_folder() { [ -d "$1" ] && [ ! -L "$1" ]; }

# wipe removes a file or folder, also one with folders that their owner may not write to.
wipe() {
	rm -rf -- "$1" 2>/dev/null && return 0
	find "$1" -type d -exec chmod u+rwx {} \; # find follows no links
	rm -rf -- "$1"
}

# folder_here makes a folder, in place of whatever else has its name.
folder_here() {
	is_folder "$1" || wipe "$1" || return 1
	mkdir -p -- "$1" && chmod u+rwx "$1"
}

# keep_only removes everything in folder $1 but what is named after it.
keep_only() {
	inside=$1
	shift
	for entry in "$inside"/* "$inside"/.[!.]* "$inside"/..?*; do
		[ -e "$entry" ] || [ -L "$entry" ] || continue
		for keep in "$@"; do
			[ "$entry" != "$inside/$keep" ] || continue 2
		done
		wipe "$entry" || return 1
	done
}

# lay_out makes an empty repository, or what may be kept of the one that is there: objects, and the refs that a fetch sets right.
# The last holder could write to all the rest, and git would run or believe it.
lay_out() {
	folder_here "$copy" && chmod 755 "$copy" && keep_only "$copy" .git || return 1
	folder_here "$git_dir" && keep_only "$git_dir" objects refs packed-refs || return 1
	folder_here "$git_dir/objects" && wipe "$git_dir/objects/info" || return 1
	folder_here "$git_dir/refs" && keep_only "$git_dir/refs" remotes tags || return 1
	folder_here "$git_dir/refs/remotes" && keep_only "$git_dir/refs/remotes" origin || return 1
	# Lock files are left behind by a git that was killed; the lock on the copy says that none is at work.
	find "$git_dir/refs" \( -name '*.lock' -o ! -type d ! -type f \) -prune -exec rm -rf -- {} + || return 1
	packed=$git_dir/packed-refs
	if [ -f "$packed" ] && [ ! -L "$packed" ]; then
		# Not in place: the last holder may have made it a second name of another file.
		awk '/^#/ { print; next } /^\^/ { if (kept) print; next }
			{ kept = $2 ~ /^refs\/(remotes\/origin|tags)\//; if (kept) print }' "$packed" >"$packed.new" && mv -f "$packed.new" "$packed" || return 1
	else
		wipe "$packed" || return 1
	fi
	printf 'ref: refs/heads/unborn\n' >"$git_dir/HEAD" && printf '%s' "$config" >"$git_dir/config"
}

on_copy() {
	git --git-dir="$git_dir" --work-tree="$copy" -c core.hooksPath=/dev/null -c core.fsmonitor=false -c submodule.recurse=false \
		-c gc.autoDetach=false -c maintenance.autoDetach=false -c advice.detachedHead=false "$@"
}

fetch() { on_copy fetch --quiet --force --no-tags --no-write-fetch-head --no-recurse-submodules "$@"; }

fetch_all() {
	for pause in 1 2 0; do
		fetch --prune origin '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*' && return 0
		sleep "$pause"
	done
	return 1
}

# find_default_branch asks the repository which branch its HEAD is.
find_default_branch() {
	answer=$(on_copy ls-remote --quiet --symref origin HEAD) || end 1 'cannot find the default branch'
	value=
	while read -r word ref _; do
		case $word$ref in
		ref:refs/heads/-*) ;;
		ref:refs/heads/*) value=${ref#refs/heads/} ;;
		esac
	done <<-EOF
		$answer
	EOF
	git check-ref-format "refs/heads/$value" || end $none "the repository has no default branch; the blueprint's branch field can name one"
}

# check_out fetches and checks out what is wanted. It fails when the copy may be damaged.
check_out() {
	fetch_all || return 1
	wanted=$kind
	if [ -z "$wanted" ]; then
		find_default_branch
		wanted=branch
	fi
	case $wanted in
	branch)
		on_copy rev-parse --quiet --verify "refs/remotes/origin/$value^{commit}" >/dev/null 2>&1 ||
			end $none "there is no branch $value in the repository"
		set -- --track -B "$value" "refs/remotes/origin/$value"
		;;
	commit)
		# On no branch or tag? Many servers give it all the same when asked for it by name.
		on_copy cat-file -e "$value^{commit}" 2>/dev/null || fetch origin "+$value:$target" ||
			end $none "there is no commit $value in the repository"
		set -- --detach "$value"
		;;
	ref)
		fetch origin "+$value:$target" || end $none "there is no ref $value in the repository"
		set -- --detach "$target"
		;;
	esac
	on_copy checkout --quiet --force "$@"
}

reachable() { git --git-dir=/dev/null ls-remote --quiet -- "$url" HEAD >/dev/null; }

prepare() {
	# What is in the way of the layout can only be in .git, the rest has been removed.
	lay_out || { wipe "$git_dir" && lay_out; } || end 1 'cannot lay out the copy'
	cd "$copy" || end 1 'cannot enter the copy'
	check_out && return 0
	reachable || end 1 'cannot fetch from the repository'
	# The repository can be reached, so what is wrong is the copy itself: begin anew.
	wipe "$git_dir" && lay_out || end 1 'cannot lay out the copy'
	check_out || end 1 'cannot check out'
}

# note_fence refuses a run that is older than one that was here for the same object, and notes this one. Each lease is noted a last time
# when it ends, so nothing of it can come after the next lease. The notes stay when the copy goes.
note_fence() {
	seen=0
	if [ -f "$fences" ]; then
		while read -r noted number; do
			case $noted,$number in
			"$object,"*[!0-9]* | "$object,") ;;
			"$object,"*) seen=$number ;;
			esac
		done <"$fences"
	fi
	[ "$fence" -ge "$seen" ] || end $stale "a run with fence $seen was here before this one with fence $fence"
	{
		if [ -f "$fences" ]; then grep -v "^$object " "$fences" | tail -n 199; fi
		printf '%s %s\n' "$object" "$fence"
	} >"$fences.new" && mv -f "$fences.new" "$fences" || end 1 'cannot note the fence'
}

command -v git >/dev/null || end 1 'there is no git on the host'
unset $(git rev-parse --local-env-vars)
export GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL="$protocols" GIT_NO_REPLACE_OBJECTS=1 SSH_ASKPASS_REQUIRE=never LC_ALL=C
export GIT_SSH_COMMAND="${GIT_SSH_COMMAND:-ssh -o BatchMode=yes}"

mkdir -p -- "$folder" || end 1 'cannot make the folder for copies'
# It stays when the copy goes: removing a lock file that somebody else may be opening is a race. git inherits the lock, so that it lives
# as long as git does. Without flock, only the object lock and the fence keep two runs apart.
if command -v flock >/dev/null; then
	exec 9>"$folder/.$name.lock" || end 1 'cannot open the lock'
	flock -n 9
	case $? in
	0) ;;
	1) end $busy 'an earlier run is still at work on the copy' ;;
	*) end 1 'cannot lock the copy' ;;
	esac
fi
note_fence
case $step in
prepare) prepare ;;
leave) ;;
remove) wipe "$copy" || end 1 'cannot remove the copy' ;;
*) end 1 "unknown step $step" ;;
esac
end 0
}
