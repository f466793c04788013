// The one function of Windows' bcryptprimitives.dll that Rust's standard library calls, for Wine before version 9, which lacks
// the library: see other_targets.sh.
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
    while (count > 0) {
        ULONG part = count < 65536 ? (ULONG)count : 65536;
        if (!RtlGenRandom(bytes, part)) return FALSE;
        bytes += part;
        count -= part;
    }
    return TRUE;
}
