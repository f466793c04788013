//! AMX: eight registers, each a tile of up to 16 rows of 64 bytes, and one instruction that multiplies two tiles of bf16.
//!
//! ```text
//! sums[pixel][channel] += Σ x[pixel][pair] · w[pair][channel]        up to 16 pixels, 16 pairs and 16 channels
//! ```
//!
//! How many rows and bytes each register has is part of a thread's state, which [`Amx::tiles`] sets and its guard clears. No other
//! code of the process knows these registers: compilers do not use them on their own, and an operating system keeps those of each
//! thread apart. The numbers in them are of no meaning from one call of [`AmxTiles::multiply`] to the next.

use crate::bf16::Bf16;
use crate::block::{Block, LANES};
#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Without a token nothing gets here.
#[cfg(not(target_arch = "x86_64"))]
macro_rules! asm {
    ($($any:tt)*) => {
        unreachable!("there is no AMX")
    };
}

/// Most pixels of a tile.
pub(crate) const MOST_ROWS: usize = 16;

/// Most pairs of a tile.
pub(crate) const MOST_PAIRS: usize = 16;

/// The sums of two tiles of pixels with two blocks of channels.
pub(crate) type Sums = [[[Block; MOST_ROWS]; 2]; 2];

/// Proof that the CPU has AMX with bf16, and that the process may use it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(());

impl Amx {
    /// The token, if there is AMX.
    pub(crate) fn new() -> Option<Self> {
        static THERE: OnceLock<bool> = OnceLock::new();
        THERE.get_or_init(is_there).then_some(Self(()))
    }

    /// Registers for so many pixels of so many pairs, until the guard is dropped.
    ///
    /// # Panics
    /// If a tile has not as many.
    pub(crate) fn tiles(self, pixels: usize, pairs: usize) -> AmxTiles {
        assert!((1..=MOST_ROWS).contains(&pixels), "tiles have 1 to 16 pixels");
        assert!((1..=MOST_PAIRS).contains(&pairs), "tiles have 1 to 16 pairs");
        let mut config = Config([0; 64]);
        let Config(bytes) = &mut config;
        bytes[0] = PALETTE;
        let (sums, x, w) = ([pixels, 4 * LANES], [pixels, 4 * pairs], [pairs, 4 * LANES]);
        for (register, [rows, width]) in
            [sums, sums, sums, sums, x, x, w, w].into_iter().enumerate()
        {
            bytes[16 + 2 * register] = width as u8;
            bytes[48 + register] = rows as u8;
        }
        // SAFETY: there is AMX (`self`); the operand is 64 bytes that name a palette, and sizes within its limits.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        AmxTiles { pixels, pairs, thread: PhantomData }
    }
}

/// The palette with eight registers of sixteen rows of 64 bytes.
const PALETTE: u8 = 1;

/// What registers hold: the palette; from byte 16 on the bytes of a row, two for each register; from byte 48 on the rows.
#[repr(C, align(64))]
struct Config([u8; 64]);

/// Whether the operating system lets the process use AMX: Linux does when asked. Others were never tried.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn is_there() -> bool {
    false
}

/// Whether the CPU has AMX, and the process may use it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn is_there() -> bool {
    has_tiles() && may_use_tiles()
}

/// Whether the CPU has the instructions, and registers of the size that they are used with here.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    use std::arch::x86_64::__cpuid_count;

    const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
    let sizes = || {
        let palette = __cpuid_count(0x1d, u32::from(PALETTE));
        (palette.eax >> 16, palette.ebx, palette.ecx & 0xffff) == (1024, 8 << 16 | 64, 16)
    };
    let known = __cpuid_count(0, 0).eax;
    known >= 0x1d && __cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES && sizes()
}

/// Asks the operating system for the registers.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn may_use_tiles() -> bool {
    // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    const CALL: u64 = 158;
    const REQUEST: u64 = 0x1023;
    const TILES: u64 = 18;
    let mut result = CALL;
    // SAFETY: the call reads and writes no memory of ours; it keeps all registers but these.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") REQUEST,
            in("rsi") TILES,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Registers of these sizes, on the thread that asked for them.
#[derive(Debug)]
pub(crate) struct AmxTiles {
    pixels: usize,
    pairs: usize,
    thread: PhantomData<*const ()>,
}

/// One loop over all products, for some tiles of pixels and some blocks of channels.
macro_rules! products {
    ([$($first:literal)*] [$($step:literal)*] [$($last:literal)*] $($operands:tt)*) => {
        asm!(
            $($first,)*
            "2:",
            "mov {at}, [{steps}]",
            $($step,)*
            "add {w}, {next}",
            "add {steps}, 8",
            "dec {count}",
            "jnz 2b",
            $($last,)*
            $($operands)*
        )
    };
}

impl AmxTiles {
    /// The sums over all `steps` of the products of T tiles of pixels, from `x[i]` plus the step on, with the weights of OB
    /// blocks of channels, which lie one step after the other. Distances and steps are in bytes.
    ///
    /// # Safety
    /// - At `x[i]` plus each step there are as many pixels and pairs as these tiles have, a pixel every `pixel` bytes;
    /// - at `w[j]` there are as many blocks as these tiles have pairs, for each of the steps.
    #[inline(always)]
    pub(crate) unsafe fn multiply<const T: usize, const OB: usize>(
        &self,
        x: [*const Bf16; T],
        pixel: usize,
        steps: &[usize],
        w: [*const Block; OB],
        sums: &mut Sums,
    ) {
        if steps.is_empty() {
            return *sums = [[[Block::ZERO; MOST_ROWS]; 2]; 2];
        }
        // The second tile and block are the first ones again where there is one.
        let [x0, x1] = [x[0], x[T - 1]];
        let second = w[OB - 1].addr() - w[0].addr();
        macro_rules! products_of {
            ($first:tt $step:tt $last:tt) => {
                products!(
                    $first $step $last
                    at = out(reg) _,
                    address = out(reg) _,
                    x0 = in(reg) x0,
                    x1 = in(reg) x1,
                    pixel = in(reg) pixel,
                    w = inout(reg) w[0] => _,
                    second = inout(reg) second => _,
                    block = in(reg) size_of::<Block>(),
                    next = in(reg) self.pairs * size_of::<Block>(),
                    steps = inout(reg) steps.as_ptr() => _,
                    count = inout(reg) steps.len() => _,
                    sums = in(reg) sums.as_mut_ptr(),
                    options(nostack)
                )
            };
        }
        // SAFETY: an `AmxTiles` is only on a thread whose registers have its sizes. Reads are those of the caller's promise, as many
        // times as there are steps; writes are of `pixels` rows of 64 bytes each, at most 16, to the four kilobytes of `sums`.
        unsafe {
            match (T, OB) {
                (1, 1) => products_of!(
                    ["tilezero tmm0"]
                    ["lea {address}, [{x0} + {at}]" "tileloadd tmm4, [{address} + {pixel}]"
                     "tileloadd tmm6, [{w} + {block}]" "tdpbf16ps tmm0, tmm4, tmm6"]
                    ["tilestored [{sums} + {block}], tmm0" "/* {x1} {second} */"]
                ),
                (1, 2) => products_of!(
                    ["tilezero tmm0" "tilezero tmm1" "add {second}, {w}"]
                    ["lea {address}, [{x0} + {at}]" "tileloadd tmm4, [{address} + {pixel}]"
                     "tileloadd tmm6, [{w} + {block}]" "tileloadd tmm7, [{second} + {block}]"
                     "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                     "add {second}, {next}"]
                    ["tilestored [{sums} + {block}], tmm0" "tilestored [{sums} + {block} + 1024], tmm1" "/* {x1} */"]
                ),
                (2, 1) => products_of!(
                    ["tilezero tmm0" "tilezero tmm2"]
                    ["lea {address}, [{x0} + {at}]" "tileloadd tmm4, [{address} + {pixel}]"
                     "tileloadd tmm6, [{w} + {block}]"
                     "lea {address}, [{x1} + {at}]" "tileloadd tmm5, [{address} + {pixel}]"
                     "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm2, tmm5, tmm6"]
                    ["tilestored [{sums} + {block}], tmm0" "tilestored [{sums} + {block} + 2048], tmm2" "/* {second} */"]
                ),
                (2, 2) => products_of!(
                    ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3" "add {second}, {w}"]
                    ["lea {address}, [{x0} + {at}]" "tileloadd tmm4, [{address} + {pixel}]"
                     "tileloadd tmm6, [{w} + {block}]" "tileloadd tmm7, [{second} + {block}]"
                     "lea {address}, [{x1} + {at}]" "tileloadd tmm5, [{address} + {pixel}]"
                     "tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"
                     "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7"
                     "add {second}, {next}"]
                    ["tilestored [{sums} + {block}], tmm0" "tilestored [{sums} + {block} + 1024], tmm1"
                     "tilestored [{sums} + {block} + 2048], tmm2" "tilestored [{sums} + {block} + 3072], tmm3"]
                ),
                _ => unreachable!("a tile is of one or two tiles of pixels and blocks of channels"),
            }
        }
    }

    /// Pixels of a tile.
    pub(crate) fn pixels(&self) -> usize {
        self.pixels
    }
}

impl Drop for AmxTiles {
    fn drop(&mut self) {
        // SAFETY: there is AMX; nothing reads the registers after this.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
