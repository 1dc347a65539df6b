#!/usr/bin/env bash
# Builds, tests and checks the Android app with Debian packages alone; --help tells how.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
build="${PPGHOST_ANDROID_BUILD:-$here/build}"
cache="${PPGHOST_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/ppghost}/android"

# Two packages that Debian dropped after bullseye: Android's API 23 and the compiler from Java classes to dex.
bullseye=(
  "libandroid-23-java 8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3"
  "dalvik-exchange 8fc128db7c27253d963eb9b33de79b197162a4749d2ba69019b2fd0664cbd7fe"
)
framework=/usr/share/android-framework-res/framework-res.apk
min_sdk=21
target_sdk=34

usage() {
  cat <<'TEXT'
usage: build.sh apk [--lite DIR]... [--models DIR] [--samples DIR] [--out FILE]
       build.sh test GOLDEN     compile the core and run its JUnit tests against golden files that Python wrote
       build.sh test-dex GOLDEN the same tests on the core after dx and enjarify
       build.sh time            how long the core takes for a picture of 640 x 480 on this machine's JVM
       build.sh check APK       signature, manifest, permissions, classes and native libraries of an APK
       build.sh tools           fetch the two bullseye packages and tell what is missing

  --lite DIR     Paddle Lite for one ABI, as fetch_lite.sh leaves it; without it the app says that it has no engine
  --models DIR   a folder of model folders (ppghost.json each), which go into the app
  --samples DIR  a folder of JPEG pictures, which go into the app
  --out FILE     the APK; default: build/ppghost-demo.apk

The app is compiled and packaged, not run: no phone and no emulator is involved.
Exit codes: 0 done, 1 a test or check failed, 2 wrong usage or input, 3 a tool is missing and is named.
TEXT
}

# Prints a reason and stops; the code is the first argument.
stop() {
  echo "build.sh: $2" >&2
  exit "$1"
}

need() {
  for program in "$@"; do
    command -v "$program" >/dev/null || stop 3 "missing: $program; apt-get install $(package_of "$program")"
  done
}

package_of() {
  case "$1" in
    javac | java | keytool) echo default-jdk-headless ;;
    dpkg-deb) echo dpkg ;;
    readelf) echo binutils ;;
    *) echo "$1" ;;
  esac
}

# Fetches the bullseye packages with apt into a root of its own, from the Debian mirror of this machine.
fetch_packages() {
  need apt-get dpkg-deb
  local root="$1/root" mirror
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
    grep -v security | head -n 1 || true)"
  [ -n "$mirror" ] || stop 3 "missing: a Debian mirror in apt's sources; put the two bullseye packages into $cache"
  mkdir -p "$root"/etc/apt/{apt.conf.d,preferences.d} "$root"/var/lib/{apt/lists/partial,dpkg} \
    "$root"/var/cache/apt/archives/partial
  touch "$root/var/lib/dpkg/status"
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg options=""
  [ -e "$keys" ] && options="[signed-by=$keys]"
  echo "deb $options $mirror bullseye main" >"$root/etc/apt/sources.list"
  local apt=(apt-get -qq -o "Dir=$root" -o "Dir::State::status=$root/var/lib/dpkg/status"
    -o "Dir::Etc::TrustedParts=/etc/apt/trusted.gpg.d" -o "APT::Sandbox::User=$(id -un)")
  (cd "$1" && "${apt[@]}" update && "${apt[@]}" download "${bullseye[@]%% *}") >&2 ||
    stop 3 "missing: bullseye's ${bullseye[*]%% *}; apt could not fetch them from $mirror"
  rm -rf "$root"
}

# Sets android_jar and dx_jar, fetching and unpacking them once. The pinned sums are checked at every start.
find_tools() {
  local name sum deb
  mkdir -p "$cache"
  if ! check_packages 2>/dev/null; then
    local fresh
    fresh="$(mktemp -d "$cache/fetch.XXXXXX")"
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$fresh'" EXIT
    fetch_packages "$fresh"
    mv "$fresh"/*.deb "$cache"
    check_packages || stop 1 "the fetched packages are not the pinned ones; remove them from $cache and see why"
  fi
  android_jar="$cache/tools/usr/share/java/com.android.android-23.jar"
  dx_jar="$cache/tools/usr/share/java/com.android.dx.jar"
  if [ ! -e "$cache/tools/ready" ]; then
    local unpacked
    unpacked="$(mktemp -d "$cache/unpack.XXXXXX")"
    for deb in "$cache"/*.deb; do dpkg-deb -x "$deb" "$unpacked"; done
    touch "$unpacked/ready"
    rm -rf "$cache/tools"
    mv "$unpacked" "$cache/tools"
  fi
}

check_packages() {
  local entry
  for entry in "${bullseye[@]}"; do
    echo "${entry#* }  $(echo "$cache/${entry%% *}"_*.deb)" | sha256sum --check --quiet || return 1
  done
}

sources() { find "$@" -name '*.java' | LC_ALL=C sort; }

# Java 8 is the newest language that dx reads; lambdas crash javac against API 23, so there are none.
# -options: newer compilers find release 8 old. Every other warning is an error.
compile() {
  local out="$1"
  shift
  rm -rf "$out"
  mkdir -p "$out"
  javac -encoding UTF-8 -Xlint:all,-options -Werror -d "$out" "$@"
}

compile_for_phone() { compile "$1" -source 8 -target 8 -bootclasspath "$android_jar" "${@:2}"; }

dex() {
  java -cp "$dx_jar" com.android.dx.command.Main --dex --min-sdk-version="$min_sdk" --output="$1" "${@:2}"
}

# The ABI of a shared library, by the machine in its ELF header.
abi_of() {
  case "$(od -An -tx1 -j18 -N1 "$1" | tr -d ' ')" in
    b7) echo arm64-v8a ;;
    28) echo armeabi-v7a ;;
    3e) echo x86_64 ;;
    *) stop 2 "$1 is no library for arm64-v8a, armeabi-v7a or x86_64" ;;
  esac
}

# Puts a Paddle Lite folder's libraries to their ABI and its version into the assets.
add_lite() {
  local lite="$1" so="$1/java/so/libpaddle_lite_jni.so" abi
  [ -f "$lite/java/jar/PaddlePredictor.jar" ] && [ -f "$so" ] || stop 2 "$lite has no java/jar/PaddlePredictor.jar and java/so/libpaddle_lite_jni.so; fetch_lite.sh makes such a folder"
  [ -f "$lite/version" ] || stop 2 "$lite has no file 'version' with Paddle Lite's version, such as v2.13-rc; fetch_lite.sh writes it"
  abi="$(abi_of "$so")"
  mkdir -p "$build/apk/lib/$abi" "$build/assets/lite"
  cp "$lite"/java/so/*.so "$build/apk/lib/$abi/"
  cp "$lite/version" "$build/assets/lite/$abi"
}

build_apk() {
  local lite=() models="" samples="" out="" jars=() classpath folder
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || stop 2 "$1 needs a value"
    case "$1" in
      --lite) lite+=("$2") ;;
      --models) models="$2" ;;
      --samples) samples="$2" ;;
      --out) out="$2" ;;
      *) stop 2 "unknown: $1; see build.sh --help" ;;
    esac
    shift 2
  done
  out="${out:-$build/ppghost-demo.apk}"
  need java javac keytool aapt zipalign apksigner
  [ -e "$framework" ] || stop 3 "missing: $framework; apt-get install android-framework-res"
  find_tools
  rm -rf "$build"/{apk,assets,gen}
  mkdir -p "$build"/{apk,assets/models,assets/samples,gen}
  for folder in ${lite[@]+"${lite[@]}"}; do
    add_lite "$folder"
    jars+=("$folder/java/jar/PaddlePredictor.jar")
  done
  [ -z "$models" ] || copy_models "$models"
  [ -z "$samples" ] || find "$samples" -maxdepth 1 -iname '*.jp*g' -exec cp -t "$build/assets/samples" {} +

  aapt package -f -m -J "$build/gen" -M "$here/app/AndroidManifest.xml" -S "$here/app/res" -I "$framework"
  if [ ${#jars[@]} = 0 ]; then
    compile_for_phone "$build/stub-classes" $(sources "$here/stubs")
    classpath="$build/stub-classes"
  else
    classpath="${jars[0]}"
  fi
  compile_for_phone "$build/classes" -cp "$classpath" \
    $(sources "$here/core" "$here/engine" "$here/app/java" "$build/gen")
  dex "$build/apk/classes.dex" "$build/classes" ${jars[@]+"${jars[0]}"}

  aapt package -f --debug-mode -M "$here/app/AndroidManifest.xml" -S "$here/app/res" -A "$build/assets" \
    -I "$framework" --min-sdk-version "$min_sdk" --target-sdk-version "$target_sdk" -F "$build/unsigned.apk"
  (cd "$build/apk" && find . -type f | sed 's,^\./,,' | LC_ALL=C sort | xargs aapt add "$build/unsigned.apk" >/dev/null)
  zipalign -f -p 4 "$build/unsigned.apk" "$build/aligned.apk"
  debug_key
  apksigner sign --ks "$cache/debug.jks" --ks-pass pass:android --min-sdk-version "$min_sdk" \
    --out "$out" "$build/aligned.apk"
  rm -f "$build"/{unsigned,aligned}.apk "$out.idsig"
  echo "built   $out, $(stat -c %s "$out") bytes, signed with a debug key; packaged, not run"
  [ ${#jars[@]} != 0 ] || echo "note    there is no Paddle Lite in it; see fetch_lite.sh"
}

# Only what the app reads goes in; a model for x86 would be of use in an emulator alone.
copy_models() {
  local folder name
  for folder in "$1"/*/; do
    [ -f "$folder/ppghost.json" ] || stop 2 "$folder has no ppghost.json; ppghost export --target lite makes such a folder"
    name="$build/assets/models/$(basename "$folder")"
    mkdir -p "$name"
    find "$folder" -maxdepth 1 -type f \( -name ppghost.json -o -name labels.txt -o -name 'golden_*.bin' -o \
      -name '*.nb' -not -name '*.x86.*' \) -exec cp -t "$name" {} +
  done
}

# One key per machine, so that a new build can be installed over an older one.
debug_key() {
  [ -e "$cache/debug.jks" ] || keytool -genkeypair -keystore "$cache/debug.jks" -storepass android -alias debug \
    -keyalg RSA -keysize 2048 -validity 10000 -dname "CN=ppghost debug" >/dev/null 2>&1
}

junit=/usr/share/java/junit4.jar:/usr/share/java/hamcrest-core.jar

# Compiles the core as for the phone and its tests as for this machine.
compile_tests() {
  need java javac
  [ -e /usr/share/java/junit4.jar ] || stop 3 "missing: /usr/share/java/junit4.jar; apt-get install junit4"
  find_tools
  compile_for_phone "$build/core" $(sources "$here/core")
  compile "$build/tests" --release 8 -cp "$build/core:$junit" $(sources "$here/tests")
}

run_tests() {
  java -Djava.awt.headless=true -Dfile.encoding=UTF-8 "-Dgolden=$2" "-Dres=$here/app/res" \
    -cp "$1:$build/tests:$junit" org.ppghost.core.AllTests
}

need_golden() {
  [ -f "$1/manifest.json" ] || stop 2 "$1 holds no golden files; tests/deploy/test_android.py writes them"
}

test_core() {
  need_golden "$1"
  compile_tests
  run_tests "$build/core" "$1"
}

# dx must not have changed what the core does: back from dex to classes, and the same tests again.
test_dex() {
  need_golden "$1"
  [ -x /usr/bin/enjarify ] || stop 3 "missing: enjarify; apt-get install enjarify"
  compile_tests
  dex "$build/core.dex" "$build/core"
  # Debian's enjarify asks for python3, which must be Debian's.
  PATH=/usr/bin:/bin enjarify --force --output "$build/core-from-dex.jar" "$build/core.dex" >/dev/null
  run_tests "$build/core-from-dex.jar" "$1"
}

time_core() {
  compile_tests
  java -cp "$build/core:$build/tests:$junit" org.ppghost.core.PreprocessTime
}

check_apk() {
  need aapt apksigner zipalign dexdump unzip readelf
  local apk="$1" unpacked so
  [ -f "$apk" ] || stop 2 "there is no $apk; build.sh apk makes one"
  apksigner verify --verbose --min-sdk-version "$min_sdk" "$apk" | grep -E '^(Verifies|Verified using v[123])'
  zipalign -c -p 4 "$apk" || stop 1 "$apk is not aligned"
  aapt dump badging "$apk" | grep -E "^(package|sdkVersion|targetSdkVersion|uses-permission|application:|locales|native-code)"
  # The app asks for nothing: documents and the camera come from other apps, with the user's consent.
  aapt dump permissions "$apk" | grep '^uses-permission' && stop 1 "$apk asks for permissions"
  unpacked="$(mktemp -d)"
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$unpacked'" EXIT
  unzip -q -d "$unpacked" "$apk" 'classes*.dex' 'lib/*' 2>/dev/null || [ -f "$unpacked/classes.dex" ]
  if ! compgen -G "$unpacked/lib/*/*.so" >/dev/null; then
    dexdump "$unpacked"/classes*.dex | grep -E "Class descriptor *: 'Lcom/baidu" && stop 1 "the stubs were packaged"
    echo "engine  none: built without Paddle Lite"
  fi
  for so in "$unpacked"/lib/*/*.so; do
    [ -e "$so" ] || continue
    echo "library ${so#"$unpacked"/}: LOAD segments aligned to $(readelf -lW "$so" | awk '$1 == "LOAD" {print $NF}' | sort -u | tr '\n' ' ')(a phone with 16 KB pages needs 0x4000)"
  done
  echo "checked $apk: well formed; packaged, not run"
}

command="${1:---help}"
[ $# = 0 ] || shift
mkdir -p "$build"
case "$command" in
  apk) build_apk "$@" ;;
  test | test-dex | check)
    [ $# = 1 ] || stop 2 "$command needs one path; see build.sh --help"
    case "$command" in test) test_core "$1" ;; test-dex) test_dex "$1" ;; check) check_apk "$1" ;; esac
    ;;
  time) time_core ;;
  tools)
    need java javac keytool aapt zipalign apksigner dexdump
    find_tools
    echo "ready   $android_jar and $dx_jar"
    ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
