#!/usr/bin/env bash
# Runs skive-beam on a Flink of this machine, beside skive score and prism, and compares what they write:
#
#     beam/flink.sh WORK INPUT [skive-beam's flags, without -input and -output]
#     beam/flink.sh /tmp/flink '/data/*.jsonl' -model /models/m.skive
#
# Paths are absolute. Four outputs come into WORK: of skive score, of prism, of Flink with workers in the submitting process (LOOPBACK), and of
# Flink with a worker process that is killed in the middle (PROCESS). Flink is FlinkJobServerDriver of Beam's
# jar for Flink 1.19, which Maven fetches with what it needs; that wants Java 11 or 17 and mvn.
set -euo pipefail

[ $# -ge 4 ] || { sed -n '2,9s/^# \?//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && work=$(cd "$1" && pwd)
input=$2
shift 2
server=
end() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
}
trap end EXIT

if [ ! -s "$work/cp.txt" ]; then
	cat >"$work/pom.xml" <<-'POM'
		<project xmlns="http://maven.apache.org/POM/4.0.0">
		  <modelVersion>4.0.0</modelVersion>
		  <groupId>skive</groupId><artifactId>flink</artifactId><version>1</version>
		  <dependencies>
		    <dependency>
		      <groupId>org.apache.beam</groupId><artifactId>beam-runners-flink-1.19</artifactId><version>2.62.0</version>
		    </dependency>
		    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.30</version></dependency>
		  </dependencies>
		</project>
	POM
	(cd "$work" && mvn -q -B dependency:build-classpath -Dmdep.outputFile=cp.txt)
fi
(cd "$here" && CGO_ENABLED=0 go build -o "$work/skive-beam" ./cmd/skive-beam)
(cd "$here" && CGO_ENABLED=0 go build -o "$work/boot" github.com/apache/beam/sdks/v2/go/container)
(cd "$here/.." && CGO_ENABLED=0 go build -o "$work/skive" ./cmd/skive)

# Without a restart strategy a batch job fails with the first worker that dies.
mkdir -p "$work/conf"
cat >"$work/conf/flink-conf.yaml" <<-'CONF'
	taskmanager.numberOfTaskSlots: 2
	restart-strategy.type: fixed-delay
	restart-strategy.fixed-delay.attempts: 5
	restart-strategy.fixed-delay.delay: 2 s
CONF
cp "$work/conf/flink-conf.yaml" "$work/conf/config.yaml"
port=8099
opens=()
for package in lang lang.invoke lang.reflect util util.concurrent util.concurrent.atomic io net nio text time; do
	opens+=(--add-opens "java.base/java.$package=ALL-UNNAMED")
done
cd "$work" # where the workers write
java "${opens[@]}" -cp "$(cat "$work/cp.txt")" org.apache.beam.runners.flink.FlinkJobServerDriver \
	--job-host=localhost --job-port=$port --artifact-port=8098 --expansion-port=8097 --flink-master='[local]' \
	--flink-conf-dir="$work/conf" --artifacts-dir="$work/artifacts" >"$work/server.log" 2>&1 &
server=$!
for _ in $(seq 60); do
	grep -q 'JobService started' "$work/server.log" && break
	kill -0 $server 2>/dev/null || { echo "Flink's job server ended: see $work/server.log"; exit 1; }
	sleep 1
done

# timed NAME COMMAND...: runs a command and says how long it took.
timed() {
	local name=$1 from
	shift
	rm -rf "${work:?}/$name"
	mkdir "$work/$name"
	from=$(date +%s.%N)
	"$@" >"$work/$name.log" 2>&1 || { echo "$name failed: see $work/$name.log"; exit 1; }
	echo "$name: $(echo "$(date +%s.%N) - $from" | bc) s"
}
flink=(-runner flink -endpoint localhost:$port -parallelism 2)

# skive score's flags are skive-beam's with two dashes.
long=()
for word; do
	case $word in -[a-z]*) long+=("-$word") ;; *) long+=("$word") ;; esac
done
timed score "$work/skive" score "${long[@]}" --input "$input" --output "$work/score"
parts=$(compgen -G "$work/score/part-*" | wc -l)
[ "$parts" -ge 4 ] || { echo "the input is $parts blocks: give a smaller -block, so that a worker can be killed before the last"; exit 1; }
timed prism "$work/skive-beam" "$@" -input "$input" -output "$work/prism"
timed loopback "$work/skive-beam" "${flink[@]}" -environment_type LOOPBACK "$@" -input "$input" -output "$work/loopback"

# kill_one kills one worker process once the first part is there.
kill_one() {
	until compgen -G "$work/process/part-*" >/dev/null; do sleep 0.05; done
	local worker
	worker=$(pgrep -f "worker=true.*localhost:" | head -1)
	kill -9 "$worker" && echo "killed worker $worker after $(compgen -G "$work/process/part-*" | wc -l) parts"
}
kill_one &
killer=$!
timed process "$work/skive-beam" "${flink[@]}" -environment_type PROCESS -environment_config "{\"command\":\"$work/boot\"}" \
	-worker_binary "$work/skive-beam" "$@" -input "$input" -output "$work/process"
wait $killer
grep -q 'RESTARTING' "$work/server.log" || { echo "Flink did not restart the job: see $work/server.log"; exit 1; }
for name in prism loopback process; do
	diff -r -x plan.json -x '.*' "$work/score" "$work/$name" >/dev/null || { echo "$name wrote other bytes than skive score"; exit 1; }
done
echo "all four wrote the same $parts parts and manifest"
