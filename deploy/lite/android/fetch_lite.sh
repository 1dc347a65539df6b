#!/usr/bin/env bash
# Fetches Paddle Lite for Android into a folder that build.sh --lite takes; --help tells how.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: fetch_lite.sh [--version V] [--abi ABI] [--fp16] [--archive FILE] [--sha256 SUM] DIR

  --version V     release of Paddle Lite; default v2.13-rc, the version of the converter of "ppghost export --target lite"
  --abi ABI       arm64-v8a (default) or armeabi-v7a
  --fp16          the build that computes fp16 models on ARMv8.2, arm64-v8a only
  --archive FILE  an archive that you downloaded yourself, instead of fetching it
  --sha256 SUM    what the archive's SHA-256 must be
  DIR             where the library goes; must not exist yet

This project has never seen these archives: it was built where they cannot be reached, so it knows no checksum of
them, and Paddle Lite publishes none. Without --sha256 the archive is fetched into DIR.tar.gz, its sum is printed, and
nothing else happens. Compare the sum with one that you trust (a colleague's, an earlier download), then run the
command again with --archive DIR.tar.gz --sha256 SUM.
Exit codes: 0 done, 1 fetched but not yet accepted, or a sum that differs, 2 wrong usage or input.
TEXT
}

stop() {
  echo "fetch_lite.sh: $2" >&2
  exit "$1"
}

version=v2.13-rc abi=arm64-v8a fp16="" archive="" wanted="" out=""
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      usage
      exit
      ;;
    --fp16)
      fp16=.arm82_fp16
      shift
      ;;
    --version | --abi | --archive | --sha256)
      [ $# -ge 2 ] || stop 2 "$1 needs a value"
      case "$1" in --version) version="$2" ;; --abi) abi="$2" ;; --archive) archive="$2" ;; --sha256) wanted="$2" ;; esac
      shift 2
      ;;
    -*) stop 2 "unknown: $1; see fetch_lite.sh --help" ;;
    *)
      [ -z "$out" ] || stop 2 "one folder, not two: $out and $1"
      out="${1%/}"
      shift
      ;;
  esac
done

[ -n "$out" ] || stop 2 "which folder? see fetch_lite.sh --help"
[ ! -e "$out" ] || stop 2 "$out exists; choose another folder or remove it"
case "$abi" in
  arm64-v8a) arch=armv8 ;;
  armeabi-v7a) arch=armv7 ;;
  *) stop 2 "--abi $abi; accepted: arm64-v8a, armeabi-v7a" ;;
esac
[ -z "$fp16" ] || [ "$arch" = armv8 ] || stop 2 "--fp16 exists for arm64-v8a only"
[ -z "$wanted" ] || [[ "$wanted" =~ ^[0-9a-f]{64}$ ]] || stop 2 "--sha256 takes 64 hexadecimal digits"

if [ -z "$archive" ]; then
  name="inference_lite_lib.android.$arch.clang.c++_shared.with_extra.with_cv$fp16.tar.gz"
  archive="$out.tar.gz"
  curl --fail --location --output "$archive" \
    "https://github.com/PaddlePaddle/Paddle-Lite/releases/download/$version/$name" ||
    stop 2 "$name of $version could not be fetched; download it in a browser and give it with --archive"
fi
[ -f "$archive" ] || stop 2 "there is no $archive"
sum="$(sha256sum "$archive" | cut -d' ' -f1)"
if [ -z "$wanted" ]; then
  echo "sha256  $sum  $archive"
  echo "Nobody compared this sum with anything. If you trust it:"
  echo "  $0 --version $version --abi $abi --archive $archive --sha256 $sum $out"
  exit 1
fi
[ "$sum" = "$wanted" ] || stop 1 "$archive has the sum $sum, not $wanted; do not use it"

unpacked="$(mktemp -d "$out.XXXXXX")"
trap 'rm -rf "$unpacked"' EXIT
tar -xzf "$archive" -C "$unpacked" || stop 2 "$archive is no tar.gz archive"
jar="$(find "$unpacked" -path '*/java/jar/PaddlePredictor.jar' -type f | head -n 1)"
[ -n "$jar" ] || stop 2 "$archive has no java/jar/PaddlePredictor.jar; it is not Paddle Lite for Android"
root="${jar%/java/jar/PaddlePredictor.jar}"
so="$(find "$root/java" -name libpaddle_lite_jni.so -type f | head -n 1)"
[ -n "$so" ] || stop 2 "$archive has no libpaddle_lite_jni.so"
mkdir -p "$unpacked/lite/java/jar" "$unpacked/lite/java/so"
cp "$jar" "$unpacked/lite/java/jar/"
cp "$so" "$unpacked/lite/java/so/"
# The shared build of the C++ library, where the archive carries it.
shared="$(find "$root" -name libc++_shared.so -type f | head -n 1)"
[ -z "$shared" ] || cp "$shared" "$unpacked/lite/java/so/"
echo "$version" >"$unpacked/lite/version"
mv "$unpacked/lite" "$out"
echo "ready   $out: Paddle Lite $version for $abi, SHA-256 of the archive $sum"
[ -n "$shared" ] || echo "note    libc++_shared.so was not in the archive; if the app cannot load the library, put the NDK's into $out/java/so"
