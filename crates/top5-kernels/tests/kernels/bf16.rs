//! bfloat16: its numbers, and how vectors round to them.

use crate::packing::runs;
use top5_kernels::convert::{narrow, widen};
use top5_kernels::{Bf16, Block, BlockBf16, Isa, Kernel, LANES, Pixel, Precision, Simd, Threads};

/// Rounded by the kernels that compute in f32.
fn copied(isa: Isa, threads: &Threads, x: &[Block]) -> Vec<BlockBf16> {
    struct Copy<'a>(&'a [Block], &'a mut [BlockBf16]);
    impl Kernel for Copy<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            self.0.iter().zip(self.1).for_each(|(x, y)| y.store(s, x.load(s)));
        }
    }
    let mut y = vec![BlockBf16::ZERO; x.len()];
    threads.chunks(&mut y, 100, |i, y| isa.run(Copy(&x[100 * i..], y)));
    y
}

#[test]
fn every_bf16_survives_the_way_through_f32() {
    for bits in 0..=u16::MAX {
        let x = Bf16(bits).to_f32();
        let back = Bf16::from_f32(x);
        if x.is_nan() {
            assert!(back.to_f32().is_nan(), "{bits:#06x}");
        } else if x.is_subnormal() {
            assert_eq!(back.to_f32().to_bits(), (0.0f32).copysign(x).to_bits(), "{bits:#06x}");
        } else {
            assert_eq!(back, Bf16(bits));
        }
    }
}

/// Between two neighbours the nearer one is taken, and in the middle the even one.
#[test]
fn rounding_is_to_the_nearest_even() {
    for bits in (0x0080..0x7f7f).chain(0x8080..0xff7f) {
        let at = |fraction: u32| f32::from_bits((u32::from(bits) << 16) + fraction);
        let even = bits + bits % 2;
        for (fraction, want) in [(1, bits), (0x7fff, bits), (0x8000, even), (0x8001, bits + 1)] {
            assert_eq!(Bf16::from_f32(at(fraction)), Bf16(want), "{bits:#06x} + {fraction:#06x}");
        }
    }
}

#[test]
fn vectors_round_as_the_numbers_do() {
    let special = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN];
    let mut values: Vec<f32> = special.iter().flat_map(|&x| [x, -x]).collect();
    values.extend((0..40_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x0001_0dcd))));
    values.resize(values.len().next_multiple_of(LANES), 0.0);
    let x: Vec<Block> =
        values.chunks_exact(LANES).map(|x| Block(x.try_into().expect("16 values"))).collect();
    let pairs = |(isa, _): &(Isa, Threads)| isa.can_multiply(Precision::Bf16);
    for (isa, threads) in runs().into_iter().filter(pairs) {
        let mut y = vec![BlockBf16::ZERO; x.len()];
        narrow(isa, &threads, &x, &mut y);
        let same = |got: &BlockBf16, want: &BlockBf16| {
            let bits = |b: Bf16| if b.to_f32().is_nan() { None } else { Some(b.0) };
            got.0.map(bits) == want.0.map(bits)
        };
        let copied = copied(isa, &threads, &x);
        assert!(
            copied.iter().zip(&y).all(|(got, want)| same(got, want)),
            "{isa} in f32 and in bf16"
        );
        let mut back = vec![Block::ZERO; x.len()];
        widen(isa, &threads, &y, &mut back);
        let exact =
            |(y, back): (&BlockBf16, &Block)| same(&BlockBf16(back.0.map(Bf16::from_f32)), y);
        assert!(y.iter().zip(&back).all(exact), "{isa} from bf16");
        for (x, y) in values.iter().zip(BlockBf16::flat(&y)) {
            let want = Bf16::from_f32(*x);
            let same = want == *y || x.is_nan() && y.to_f32().is_nan();
            assert!(same, "{isa}: {x:e} became {y:?}, expected {want:?}");
        }
    }
}
